"""Waits for the tenant's rate limit before it is hit."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from poller.core.errors import TransientError

LONGEST_WAIT_S = 60.0  # a header that asks for more is not believed


@dataclass(slots=True, kw_only=True)
class _Bucket:
    limit: int
    remaining: int
    reset_at: float


class RateBudget:
    """The core's Budget over the server's own headers, one bucket a limit; thread-safe.

    `remaining` does not know of requests under way, so each one that goes out is taken off at once.
    """

    def __init__(self, stopping: threading.Event, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._stopping = stopping
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._buckets: dict[str, _Bucket] = {}

    def acquire(self, bucket: str) -> None:
        """Returns when a request may go out.

        Raises:
            TransientError: the program is to stop, so the wait is off.
        """
        while (wait_s := self._take(bucket)) > 0:
            if self._stopping.wait(wait_s):
                raise TransientError("stopped while waiting for the rate limit")

    def observe(self, bucket: str, *, limit: int, remaining: int, reset_in: timedelta) -> None:
        reset_at = self._monotonic() + min(reset_in.total_seconds(), LONGEST_WAIT_S)
        with self._lock:
            self._buckets[bucket] = _Bucket(limit=limit, remaining=remaining, reset_at=reset_at)

    def has_room(self, bucket: str) -> bool:
        """Whether half of the bucket or more is left: what can wait, waits otherwise."""
        with self._lock:
            held = self._buckets.get(bucket)
            return held is None or 2 * held.remaining >= held.limit or self._monotonic() >= held.reset_at

    def _take(self, bucket: str) -> float:
        """Takes one request and returns 0, or returns the seconds until it is worth asking again."""
        with self._lock:
            held = self._buckets.get(bucket)
            if held is None:
                return 0.0
            if held.remaining <= 0:
                wait_s = held.reset_at - self._monotonic()
                if wait_s > 0:
                    return wait_s
                held.remaining = 1  # the token that the reset brought
            held.remaining -= 1
            return 0.0
