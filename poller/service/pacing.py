"""Waits for the tenant's rate limit before it is hit."""

import math
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

    `remaining` does not know of requests under way, so each one that goes out is taken off at once. `share` of each
    limit is ours: the rest is left in the bucket, for the tenant's own applications.
    """

    def __init__(
        self, stopping: threading.Event, *, share: float = 1.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._stopping = stopping
        self._share = share
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

    def _kept(self, limit: int) -> int:
        """The tokens to leave; never all, or nothing would ever go out."""
        # Rounded first: (1 - 0.8) * 50 is a little less than 10 to a computer, other products a little more.
        return max(0, min(math.ceil(round((1 - self._share) * limit, 6)), limit - 1))

    def _take(self, bucket: str) -> float:
        """Takes one request and returns 0, or returns the seconds until it is worth asking again."""
        with self._lock:
            held = self._buckets.get(bucket)
            if held is None:
                return 0.0
            kept = self._kept(held.limit)
            if held.remaining <= kept:
                wait_s = held.reset_at - self._monotonic()
                if wait_s > 0:
                    return wait_s
                # The reset brought a token; whether others left more, only an answer tells.
                held.remaining = kept + 1
            held.remaining -= 1
            return 0.0
