"""The two questions of a health check: is the daemon alive, and is it up to date."""

from datetime import timedelta

from poller.service.lifecycle.liveness import Heartbeat
from poller.service.observability.meter import Meter


class Health:
    """The problems of the daemon in words, or None without a problem.

    An outage of Auth0 or Segment makes the daemon late. It does not make it dead: a restart would
    not help.
    """

    def __init__(self, meter: Meter, heartbeat: Heartbeat, *, ready_lag: timedelta) -> None:
        self._meter = meter
        self._heartbeat = heartbeat
        self._ready_lag_s = ready_lag.total_seconds()

    def liveness_problem(self) -> str | None:
        """Return why the daemon is not alive, by the heartbeat that systemd's watchdog uses too."""
        return liveness_problem(self._heartbeat)

    def readiness_problem(self) -> str | None:
        """Return why new events do not arrive. A backlog beside them is no problem."""
        if self._meter.is_blocked:
            return "blocked: `status` says why"
        lag_s = self._meter.ages.freshness_s()
        if lag_s is None:
            return "nothing was read yet"
        if lag_s > self._ready_lag_s:
            return f"new events are {lag_s:.0f} s late, above {self._ready_lag_s:.0f} s"
        return None


def liveness_problem(heartbeat: Heartbeat) -> str | None:
    """Return why a process is not alive, or None."""
    if heartbeat.is_alive:
        return None
    return "the loop hangs: it gave no sign of life in time"
