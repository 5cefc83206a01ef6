"""Waits for the tenant's rate limit before it is hit.

The server tells after each request what its bucket has left: rounded down, without what is under way, and late. So a
belief is kept of each bucket that is never above the truth while nobody else takes from it: it starts at what an
answer told, loses a token for each request that goes out, and grows by the least refill that the answers prove.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from poller.core.errors import TransientError

LONGEST_WAIT_S = 60.0  # a header that asks for more is not believed
_RECHECK_S = 0.1  # while requests are under way, whose answers may tell that there is room
_SHORTEST_WAIT_S = 0.001
_ANCHORED_S = (
    10.0  # at least so long, or a small bucket, full after each request, would prove nothing
)
_TAKEN_BY_OTHERS = 2.0  # tokens; less may be our own rounding
_LEAST_TRUST = 0.05  # below it the resets alone tell when to look


@dataclass(slots=True, kw_only=True)
class _Request:
    bucket: str
    sent_at: float
    answered_before: int
    """How many of the same limit had been answered when it went out."""
    answered_at: float | None = None

    def is_later(self, moment: float) -> bool:
        """Whether the server may have served it after this moment."""
        return self.answered_at is None or self.answered_at > moment


@dataclass(frozen=True, slots=True, kw_only=True)
class _Anchor:
    """An answer from which the refill is measured: what was left at most, and how many had been taken off at most."""

    sent_at: float
    answered_at: float
    held: float
    taken: int


@dataclass(slots=True, kw_only=True)
class _Bucket:
    """What is believed of one limit; `tokens` as of `at`.

    `per_second` is the least refill that is proved, `trust` the part of it that others leave.
    """

    limit: int
    tokens: float
    at: float
    reset_at: float
    anchor: _Anchor
    per_second: float = 0.0
    trust: float = 1.0
    answered: int = 0

    @property
    def growth(self) -> float:
        return self.per_second * self.trust

    def grow(self, now: float, *, under_way: int) -> None:
        # What is under way has yet to be taken off by the server, whose bucket may be full until then.
        most = max(self.limit - under_way, self.tokens)
        self.tokens = min(self.tokens + (now - self.at) * self.growth, most)
        self.at = now

    def learn(self, request: _Request, remaining: int, now: float, *, under_way: int) -> None:
        """Raises the refill to what the answers since the anchor prove: what came in is what went out and what is left.

        Each quantity is taken at its worst; others who take, and a bucket that was full, only make it less.
        """
        self.answered += 1
        if request.sent_at > self.anchor.answered_at:
            taken = request.answered_before - self.anchor.taken + 1
            proved = (remaining - self.anchor.held + taken) / (now - self.anchor.sent_at)
            self.per_second = max(self.per_second, proved)
        if remaining >= self.limit - 1 and now - self.anchor.answered_at > _ANCHORED_S:
            # Full again, or nearly: what came in meanwhile says nothing.
            self.anchor = _Anchor(
                sent_at=request.sent_at,
                answered_at=now,
                held=min(remaining + 1, self.limit),
                taken=self.answered + under_way,
            )

    def distrust(self, now: float, *, under_way: int) -> None:
        """After a refusal the belief was wrong: it begins anew, with half of the refill."""
        self.per_second /= 2
        self.tokens = min(self.tokens, 0.0)
        self.anchor = _Anchor(
            sent_at=now, answered_at=now, held=1.0, taken=self.answered + under_way
        )

    def correct(self, least: float, most: float, *, has_room: bool) -> None:
        """Brings the belief between the least and the most that an answer allows.

        A belief that was far too high shows that others take; a bucket that `has_room`, that they have left off.
        """
        if self.tokens - most > _TAKEN_BY_OTHERS:
            self.trust = self.trust / 2 if self.trust > _LEAST_TRUST else 0.0
        elif has_room:
            self.trust = min(1.0, 2 * self.trust + 0.1)
        self.tokens = max(least, min(self.tokens, most))


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitStatus:
    """A limit as it is believed: requests at once, how many are left, and how many come back in a second at least."""

    limit: int
    left: float
    per_second: float


class RateLimiter:
    """The rate limit, over the server's own headers; thread-safe, one request a thread.

    `share` of each limit is ours: the rest is left in the bucket, for the tenant's own applications. Endpoints that
    tell the same limit are taken to have one bucket in common, as they have on most plans.
    """

    def __init__(
        self,
        stopping: threading.Event,
        *,
        share: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        caller: Callable[[], int] = threading.get_ident,
    ) -> None:
        self._stopping = stopping
        self._share = share
        self._monotonic = monotonic
        self._caller = caller
        self._lock = threading.Lock()
        self._buckets: dict[int, _Bucket] = {}
        self._limits: dict[str, int] = {}
        self._under_way: dict[int, _Request] = {}
        self._answered: list[_Request] = []
        self.refused = 0
        """Answers of 429, which were waited out."""

    def acquire(self, bucket: str) -> None:
        """Returns when a request may go out.

        Raises:
            TransientError: the program is to stop, so the wait is off.
        """
        while (wait_s := self._take(bucket)) > 0:
            if self._stopping.wait(wait_s):
                raise TransientError("stopped while waiting for the rate limit")

    def observe(
        self,
        bucket: str,
        *,
        limit: int,
        remaining: int,
        reset_in: timedelta,
        is_refused: bool = False,
    ) -> None:
        """What the answer to this thread's request told; one that was refused took no token."""
        with self._lock:
            now = self._monotonic()
            request = self._end(now) or _Request(bucket=bucket, sent_at=now, answered_before=0)
            reset_at = now + min(reset_in.total_seconds(), LONGEST_WAIT_S)
            self._limits[bucket] = limit
            under_way = len(self._alike(limit, self._under_way.values()))
            held = self._buckets.get(limit)
            if held is None:
                # Its own request is among those that are taken off before.
                taken = 1 + under_way
                anchor = _Anchor(
                    sent_at=request.sent_at,
                    answered_at=now,
                    held=min(remaining + 1, limit),
                    taken=taken,
                )
                held = _Bucket(
                    limit=limit, tokens=remaining, at=now, reset_at=reset_at, anchor=anchor
                )
                self._buckets[limit] = held
            held.grow(now, under_way=under_way)
            if is_refused:
                self.refused += 1
                held.distrust(now, under_way=under_way)
            else:
                held.learn(request, remaining, now, under_way=under_way)
            held.reset_at = reset_at
            others = self._alike(limit, [*self._under_way.values(), *self._answered])
            unsure = sum(
                other is not request and other.is_later(request.sent_at) for other in others
            )
            held.correct(
                remaining - unsure,
                remaining + held.per_second * (now - request.sent_at),
                has_room=remaining >= self._kept(limit),
            )

    def missed(self, bucket: str) -> None:
        """This thread's request had no answer, or one that tells nothing."""
        del bucket
        with self._lock:
            self._end(self._monotonic())

    def status(self, bucket: str) -> "RateLimitStatus | None":
        """What is known of an endpoint's limit; None before the first answer."""
        with self._lock:
            held = self._buckets.get(self._limits.get(bucket, 0))
            if held is None:
                return None
            held.grow(self._monotonic(), under_way=len(self._under_way))
            return RateLimitStatus(
                limit=held.limit, left=max(held.tokens, 0.0), per_second=held.per_second
            )

    def has_room(self, bucket: str) -> bool:
        """Whether half of the bucket or more is left: what can wait, waits otherwise."""
        with self._lock:
            held = self._buckets.get(self._limits.get(bucket, 0))
            if held is None:
                return True
            now = self._monotonic()
            held.grow(now, under_way=len(self._under_way))
            return 2 * held.tokens >= held.limit or (not held.growth and now >= held.reset_at)

    def _take(self, bucket: str) -> float:
        """Takes one request and returns 0, or returns the seconds until it is worth asking again."""
        with self._lock:
            now = self._monotonic()
            self._end(now)  # a thread that asks again has done with what it asked before
            limit = self._limits.get(bucket)
            if limit is None and any(
                other.bucket == bucket or not self._buckets for other in self._under_way.values()
            ):
                return _RECHECK_S  # the first answer tells what there is
            # An endpoint of which nothing is known may share any bucket that is.
            asked = [*self._buckets.values()] if limit is None else [self._buckets[limit]]
            wait_s = max((self._wait_s(held, now) for held in asked), default=0.0)
            if wait_s > 0:
                return wait_s
            for held in asked:
                held.tokens -= 1
            answered = 0 if limit is None else asked[0].answered
            self._under_way[self._caller()] = _Request(
                bucket=bucket, sent_at=now, answered_before=answered
            )
            return 0.0

    def _wait_s(self, held: _Bucket, now: float) -> float:
        held.grow(now, under_way=len(self._under_way))
        missing = self._kept(held.limit) + 1 - held.tokens
        if missing <= 0:
            return 0.0
        if now >= held.reset_at and not self._under_way:
            # The reset brought a token; whether others left more, only an answer tells.
            held.tokens = self._kept(held.limit) + 1.0
            return 0.0
        waits = [held.reset_at - now] if held.reset_at > now else []
        if held.growth:
            waits.append(missing / held.growth)
        if self._under_way:
            waits.append(_RECHECK_S)
        return max(min(waits), _SHORTEST_WAIT_S)

    def _kept(self, limit: int) -> int:
        """The tokens to leave; never all, or nothing would ever go out."""
        # Rounded first: (1 - 0.8) * 50 is a little less than 10 to a computer, other products a little more.
        return max(0, min(math.ceil(round((1 - self._share) * limit, 6)), limit - 1))

    def _alike(self, limit: int, requests: Iterable[_Request]) -> list[_Request]:
        """Those that may be of this limit's bucket."""
        return [request for request in requests if self._limits.get(request.bucket, limit) == limit]

    def _end(self, now: float) -> _Request | None:
        """Ends this thread's request, and forgets those that no request under way can have been overtaken by."""
        request = self._under_way.pop(self._caller(), None)
        if request is not None:
            request.answered_at = now
            self._answered.append(request)
        oldest = min((other.sent_at for other in self._under_way.values()), default=now)
        started = oldest if request is None else min(oldest, request.sent_at)
        self._answered = [other for other in self._answered if other.is_later(started)]
        return request
