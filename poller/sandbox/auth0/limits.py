"""The rate limits that Auth0 publishes for each plan, with token buckets and headers."""

import math
import threading
from dataclasses import dataclass
from datetime import datetime

from poller.sandbox.clock import Clock


@dataclass(slots=True, kw_only=True)
class Bucket:
    """A bucket of up to `burst` tokens, which gets `per_second` of them back."""

    burst: int
    per_second: float
    held: float = 0.0
    filled_at: datetime | None = None

    def take(self, now: datetime) -> bool:
        """Take a token if there is one, and return true if there was."""
        self._fill(now)
        if self.held < 1:
            return False
        self.held -= 1
        return True

    def headers(self, now: datetime) -> dict[str, str]:
        """Return the headers that tell of the bucket.

        `reset` is the unix time at which the next token comes. The recordings have it one second
        ahead.
        """
        self._fill(now)
        missing = max(1 - (self.held % 1), 0.0) / self.per_second
        return {
            "x-ratelimit-limit": str(self.burst),
            "x-ratelimit-remaining": str(int(self.held)),
            "x-ratelimit-reset": str(math.ceil(now.timestamp() + missing)),
        }

    def _fill(self, now: datetime) -> None:
        if self.filled_at is None:
            self.held = float(self.burst)
        else:
            passed = max((now - self.filled_at).total_seconds(), 0.0)
            self.held = min(self.held + passed * self.per_second, float(self.burst))
        self.filled_at = now


PLANS: dict[str, dict[str, tuple[int, float]]] = {
    "free": {"all": (2, 2.0)},
    "essentials": {"logs": (10, 100 / 60), "users": (40, 500 / 60), "all": (10, 150 / 60)},
    "essentials-tenfold": {
        "logs": (10, 1000 / 60),
        "users": (40, 5000 / 60),
        "all": (10, 1500 / 60),
    },
    "enterprise": {"all": (50, 16.0)},
    "unlimited": {"all": (10**6, 10.0**6)},
}
"""The burst and the tokens per second of each bucket, from Auth0's rate limit configurations.

An endpoint without its own bucket shares `all`. The tenfold plan has the shape of
`essentials`, for measurements that should end soon.
"""


class Limits:
    """The buckets of one tenant. Thread-safe."""

    def __init__(self, clock: Clock, plan: str = "enterprise") -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.set_plan(plan)

    def set_plan(self, plan: str) -> None:
        buckets = {
            name: Bucket(burst=burst, per_second=rate)
            for name, (burst, rate) in PLANS[plan].items()
        }
        with self._lock:
            self._buckets = buckets

    def take(self, endpoint: str, count: int = 1) -> tuple[bool, dict[str, str]]:
        """Return true if a request to this endpoint may pass, and the headers of its answer.

        A `count` above one stands for other applications of the tenant that take tokens.
        """
        with self._lock:
            bucket = self._buckets.get(endpoint, self._buckets["all"])
            now = self._clock.now()
            passes = [bucket.take(now) for _ in range(count)]
            return passes[0], bucket.headers(now)
