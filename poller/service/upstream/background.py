"""The limits of both services as work in the background sees them: live polling goes first.

Work in the background has a stop event of its own. The stop event of live polling also tells the
watchdog that the live loop is alive, and a wait in the background must not say that.
"""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from poller.service.upstream.rate_limit import RateLimiter
from poller.service.upstream.send_rate import SendRate

_RECENTLY_S = 1.0
"""The time after a wait for which requests count as limited."""


class BackgroundLimits:
    """A request budget and a wait for messages, for threads beside live polling. Thread-safe."""

    def __init__(
        self,
        rate_limiter: RateLimiter,
        send_rate: SendRate,
        stopping: threading.Event,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate_limiter = rate_limiter
        self._send_rate = send_rate
        self._stopping = stopping
        self._monotonic = monotonic
        self._waited_at = float("-inf")
        """The time at which a request that had to wait went out last."""

    def is_rate_limited(self) -> bool:
        """Return whether requests wait for Auth0's rate limit. More threads would not help then."""
        return self._monotonic() - self._waited_at < _RECENTLY_S

    def wait(self, count: int) -> None:
        """Block until this number of messages may go out. See `SendRate.wait_in_background`."""
        self._send_rate.wait_in_background(count, self._stopping)

    def acquire(self, endpoint: str) -> None:
        """Block until a request may go out. See `RateLimiter.acquire_in_background`."""
        if self._rate_limiter.acquire_in_background(endpoint, self._stopping):
            self._waited_at = self._monotonic()

    def observe(
        self,
        endpoint: str,
        *,
        limit: int,
        remaining: int,
        reset_in: timedelta,
        is_refused: bool = False,
    ) -> None:
        self._rate_limiter.observe(
            endpoint, limit=limit, remaining=remaining, reset_in=reset_in, is_refused=is_refused
        )

    def observe_nothing(self, endpoint: str) -> None:
        self._rate_limiter.observe_nothing(endpoint)
