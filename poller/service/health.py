"""Whether the daemon is alive, and whether it is up to date."""

from collections.abc import Callable
from datetime import timedelta

from poller.service.meter import Meter

OVERDUE_S = 60.0
"""A cycle that begins so late never will."""
STILL_S = 180.0
"""A cycle in which nothing was done for so long hangs: a request ends in 30 s, a wait for the rate limit in 60 s."""


class Health:
    """What is wrong, in words; None where nothing is. An outage of a service is no reason not to be alive."""

    def __init__(self, meter: Meter, *, ready_lag: timedelta) -> None:
        self._meter = meter
        self._ready_lag_s = ready_lag.total_seconds()
        self._overdue_s: Callable[[], float | None] = lambda: 0.0

    def watch(self, overdue_s: Callable[[], float | None]) -> None:
        """`overdue_s` says for how long a cycle should have begun; None while one is at work."""
        self._overdue_s = overdue_s

    def not_alive(self) -> str | None:
        overdue_s = self._overdue_s()
        if overdue_s is None:
            still_s = self._meter.still_s
            return f"nothing was done for {still_s:.0f} s" if still_s > STILL_S else None
        return f"a cycle is overdue by {overdue_s:.0f} s" if overdue_s > OVERDUE_S else None

    def not_ready(self) -> str | None:
        snapshot = self._meter.snapshot
        if snapshot.is_blocked:
            return "blocked: `status` says why"
        lag_s = self._meter.lag_s(snapshot)
        if lag_s is None:
            return "nothing was read yet"
        return f"the lag is {lag_s:.0f} s, above {self._ready_lag_s:.0f} s" if lag_s > self._ready_lag_s else None
