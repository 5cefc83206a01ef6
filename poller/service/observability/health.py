"""Whether the daemon is alive, and whether it is up to date."""

from datetime import timedelta

from poller.service.lifecycle.liveness import Heartbeat
from poller.service.observability.meter import Meter


class Health:
    """What is wrong, in words; None where nothing is. An outage of a service is no reason not to be alive."""

    def __init__(self, meter: Meter, heartbeat: Heartbeat, *, ready_lag: timedelta) -> None:
        self._meter = meter
        self._pulse = heartbeat
        self._ready_lag_s = ready_lag.total_seconds()

    def not_alive(self) -> str | None:
        """By the same heartbeat that systemd's watchdog goes by."""
        return None if self._pulse.is_alive else "the loop hangs: it was not heard of in time"

    def not_ready(self) -> str | None:
        snapshot = self._meter.snapshot
        if snapshot.is_blocked:
            return "blocked: `status` says why"
        lag_s = self._meter.lag_s(snapshot)
        if lag_s is None:
            return "nothing was read yet"
        return (
            f"the lag is {lag_s:.0f} s, above {self._ready_lag_s:.0f} s"
            if lag_s > self._ready_lag_s
            else None
        )
