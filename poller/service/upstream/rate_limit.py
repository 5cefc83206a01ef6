"""A rate limiter that waits before the tenant's rate limit is hit.

It keeps one belief for each limit that the server tells (see `bucket_belief`). A request goes out
when the belief holds a token for it above the part that is left to the tenant's own applications.

Buckets are told apart by their limit. The server names no bucket, and on most plans all endpoints
share one. So endpoints that tell the same limit are taken to share a bucket, which may be too
careful and is never too fast. An endpoint that has not answered yet may share any known bucket. So
its first request takes a token from each, and its second one waits for the first answer.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from poller.core.errors import TransientError
from poller.service.upstream.bucket_belief import Belief, Request

LONGEST_WAIT_S = 60.0
"""The longest reset that is believed."""
_RECHECK_S = 0.1
"""The wait while requests are under way. Their answers may show that there is room."""
_SHORTEST_WAIT_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitStatus:
    """One limit as it is believed now."""

    limit: int
    """The number of requests that can be made at once."""
    left: float
    per_second: float
    """The requests that come back in a second, at least."""


class RateLimiter:
    """The requests that the tenant's rate limits leave. Thread-safe, one request a thread.

    `share` is the part of each limit that is ours. The rest stays in the bucket for the tenant's
    own applications.
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
        self._beliefs: dict[int, Belief] = {}
        """The belief by the limit that the server tells."""
        self._limits: dict[str, int] = {}
        """The limit of each bucket that has answered."""
        self._under_way: dict[int, Request] = {}
        """The request of each thread."""
        self._answered: list[Request] = []
        """The answered requests that the server may have served after one that is under way."""
        self.refused = 0
        """The number of answers with status 429."""

    def acquire(self, bucket: str) -> None:
        """Return when a request may go out.

        Raises:
            TransientError: the program is told to stop.
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
        """Take note of the headers of the answer to this thread's request.

        `reset_in` is the time until the next token. A refused request took no token.
        """
        with self._lock:
            now = self._monotonic()
            request = self._end(now) or Request(bucket=bucket, sent_at=now, answered_before=0)
            self._limits[bucket] = limit
            under_way = len(self._sharing(limit, self._under_way.values()))
            belief = self._beliefs.get(limit)
            if belief is None:
                belief = self._beliefs[limit] = Belief.from_first_answer(
                    request, limit=limit, remaining=remaining, now=now, under_way=under_way
                )
            belief.grow(now, under_way=under_way)
            if is_refused:
                self.refused += 1
                belief.distrust(now, under_way=under_way)
            else:
                belief.learn(request, remaining, now, under_way=under_way)
            belief.reset_at = now + min(reset_in.total_seconds(), LONGEST_WAIT_S)
            self._correct(belief, request, remaining, now)

    def _correct(self, belief: Belief, request: Request, remaining: int, now: float) -> None:
        """Hold the belief between the least and the most that an answer allows.

        The server may have served other requests after this one, and they are not taken off
        `remaining` yet: so many tokens fewer is the least. It may have made the answer as early as
        the request was sent, and tokens came back since: so many tokens more is the most.
        """
        others = self._sharing(belief.limit, [*self._under_way.values(), *self._answered])
        unaccounted = sum(
            other is not request and other.may_be_served_after(request.sent_at) for other in others
        )
        belief.correct(
            remaining - unaccounted,
            remaining + belief.refill_per_second * (now - request.sent_at),
            has_room=remaining >= self._kept(belief.limit),
        )

    def missed(self, bucket: str) -> None:
        """Take note that this thread's request had no answer, or one without such headers."""
        del bucket
        with self._lock:
            self._end(self._monotonic())

    def status(self, bucket: str) -> RateLimitStatus | None:
        """Return the limit of a bucket as it is believed, or None before the first answer."""
        with self._lock:
            belief = self._belief_of(bucket)
            if belief is None:
                return None
            belief.grow(self._monotonic(), under_way=len(self._under_way))
            return RateLimitStatus(
                limit=belief.limit,
                left=max(belief.tokens, 0.0),
                per_second=belief.refill_per_second,
            )

    def has_room(self, bucket: str) -> bool:
        """Return whether half of the bucket or more is left. Work that can wait asks this first."""
        with self._lock:
            belief = self._belief_of(bucket)
            if belief is None:
                return True
            now = self._monotonic()
            belief.grow(now, under_way=len(self._under_way))
            is_unknown = not belief.growth and now >= belief.reset_at
            return is_unknown or 2 * belief.tokens >= belief.limit

    def _belief_of(self, bucket: str) -> Belief | None:
        return self._beliefs.get(self._limits.get(bucket, 0))

    def _take(self, bucket: str) -> float:
        """Take one request and return 0, or return the seconds after which to ask again."""
        with self._lock:
            now = self._monotonic()
            self._end(now)  # a thread that asks again has finished its last request
            belief = self._belief_of(bucket)
            if belief is None and self._awaits_first_answer(bucket):
                return _RECHECK_S
            beliefs = [*self._beliefs.values()] if belief is None else [belief]
            wait_s = max((self._wait_s(each, now) for each in beliefs), default=0.0)
            if wait_s > 0:
                return wait_s
            for each in beliefs:
                each.tokens -= 1
            self._under_way[self._caller()] = Request(
                bucket=bucket, sent_at=now, answered_before=belief.answered if belief else 0
            )
            return 0.0

    def _awaits_first_answer(self, bucket: str) -> bool:
        """Return whether a request is under way whose answer tells the limit of this bucket.

        While no bucket is known at all, that is any request.
        """
        return any(
            request.bucket == bucket or not self._beliefs for request in self._under_way.values()
        )

    def _wait_s(self, belief: Belief, now: float) -> float:
        """Return the seconds until a token may be there. Zero means that one is."""
        belief.grow(now, under_way=len(self._under_way))
        missing = self._kept(belief.limit) + 1 - belief.tokens
        if missing <= 0:
            return 0.0
        if now >= belief.reset_at and not self._under_way:
            # The reset brought one token. Whether others left more, only an answer can tell.
            belief.tokens = self._kept(belief.limit) + 1.0
            return 0.0
        waits = [belief.reset_at - now] if belief.reset_at > now else []
        if belief.growth:
            waits.append(missing / belief.growth)
        if self._under_way:
            waits.append(_RECHECK_S)
        return max(min(waits), _SHORTEST_WAIT_S)

    def _kept(self, limit: int) -> int:
        """Return the tokens to leave to others. One token is always ours."""
        # Floating point makes (1 - 0.8) * 50 a little less than 10, and other products a little
        # more. Rounding comes first.
        return max(0, min(math.ceil(round((1 - self._share) * limit, 6)), limit - 1))

    def _sharing(self, limit: int, requests: Iterable[Request]) -> list[Request]:
        """Return the requests that may take from the bucket of this limit."""
        return [request for request in requests if self._limits.get(request.bucket, limit) == limit]

    def _end(self, now: float) -> Request | None:
        """End this thread's request and return it.

        This also forgets the answered requests that the server served before every request that is
        still under way. They are part of every answer to come.
        """
        request = self._under_way.pop(self._caller(), None)
        if request is not None:
            request.answered_at = now
            self._answered.append(request)
        oldest = min((other.sent_at for other in self._under_way.values()), default=now)
        begun_at = oldest if request is None else min(oldest, request.sent_at)
        self._answered = [other for other in self._answered if other.may_be_served_after(begun_at)]
        return request
