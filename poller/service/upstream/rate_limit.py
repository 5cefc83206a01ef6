"""A rate limiter that delays requests, and so never exceeds the tenant's rate limit.

It keeps one belief for each limit that the server reports (see `bucket_belief`). A request goes out
when the belief holds a token for it above the part that is reserved for the tenant's own
applications.

The server does not name its token buckets, and on most plans all endpoints share one bucket. So the
rate limiter tells buckets apart by their limit: endpoints that report the same limit are taken to
share a bucket. This can make us slower than needed, never faster than allowed. An endpoint that has
not answered yet may share any known bucket. So its first request takes a token from every known
bucket. Its second request waits until the first has been answered.

Live polling goes before work in the background, such as a backlog. Two rules say so. A request in
the background waits while a live request waits for the same bucket. And it leaves a few tokens for
the requests of the next live poll. The reserve is not lost: it is taken from the burst once, and
work in the background then uses the whole refill that live polling leaves.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from poller.core.errors import TransientError
from poller.service.upstream.bucket_belief import Belief, Request, TenantLimits

LONGEST_WAIT_S = 60.0
"""The longest time until a reset. A later reset time is not believed."""
_RECHECK_S = 0.1
"""The wait while requests are under way. Their answers may show that there is room."""
_SHORTEST_WAIT_S = 0.001
_BACKGROUND_REST_S = 10.0
"""The time after its last request for which work in the background counts as going on."""
LIVE_RESERVE = 3
"""The tokens that work in the background leaves: for a page, its profiles and a proof.

In a small bucket it leaves half of what is ours, rounded down.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitStatus:
    """One limit as it is believed now."""

    limit: int
    """The number of tokens in a full bucket."""
    remaining: float
    per_second: float
    """The tokens that are regained per second, at least."""


class RateLimiter:
    """Lets requests through as the tenant's rate limits allow.

    `share` is the part of each limit that is ours. The rest is reserved for the tenant's own
    applications. Rate limiters of one `tenant` share what they know and take, so that together they
    are as fast as one. Thread-safe. Each thread has at most one request under way.
    """

    def __init__(
        self,
        stopping: threading.Event,
        *,
        share: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        caller: Callable[[], int] = threading.get_ident,
        tenant: TenantLimits | None = None,
    ) -> None:
        self._stopping = stopping
        self._share = share
        self._monotonic = monotonic
        self._caller = caller
        self._tenant = tenant or TenantLimits()
        self.refused = 0
        """The number of answers with status 429."""

    def acquire(self, endpoint: str) -> None:
        """Block until a request may go out.

        Raises:
            TransientError: the program is told to stop.
        """
        try:
            while (wait_s := self._take(endpoint)) > 0:
                _wait(self._stopping, wait_s)
        finally:
            with self._tenant.lock:
                self._tenant.live_waiting.pop(self._caller(), None)

    def acquire_in_background(self, endpoint: str, stopping: threading.Event) -> bool:
        """Block until a request may go out that lets live requests go first.

        Return whether it had to wait.

        Raises:
            TransientError: `stopping` is set.
        """
        has_waited = False
        while (wait_s := self._take(endpoint, in_background=True)) > 0:
            has_waited = True
            _wait(stopping, wait_s)
        return has_waited

    def observe(
        self,
        endpoint: str,
        *,
        limit: int,
        remaining: int,
        reset_in: timedelta,
        is_refused: bool = False,
    ) -> None:
        """Take note of the headers of the answer to this thread's request.

        `reset_in` is the time until the next token. A refused request took no token.
        """
        with self._tenant.lock:
            now = self._monotonic()
            request = self._end(now) or Request(endpoint=endpoint, sent_at=now, answered_before=0)
            self._tenant.limits[endpoint] = limit
            under_way = len(self._sharing(limit, self._tenant.under_way.values()))
            belief = self._tenant.beliefs.get(limit)
            if belief is None:
                belief = self._tenant.beliefs[limit] = Belief.from_first_answer(
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

        The server may have served other requests after this request, and `remaining` does not
        count them. Lower bound: `remaining` minus those requests.

        The server may have made the answer as early as the request was sent. Upper bound:
        `remaining` plus the tokens regained since the request was sent.
        """
        others = self._sharing(
            belief.limit, [*self._tenant.under_way.values(), *self._tenant.answered]
        )
        unaccounted = sum(
            other is not request and other.may_be_served_after(request.sent_at) for other in others
        )
        belief.correct(
            remaining - unaccounted,
            remaining + belief.refill_per_second * (now - request.sent_at),
            has_room=remaining >= self._reserved(belief.limit),
        )

    def observe_nothing(self, endpoint: str) -> None:
        """Take note that this thread's request brought no answer, or one without limits."""
        del endpoint
        with self._tenant.lock:
            self._end(self._monotonic())

    def status(self, endpoint: str) -> RateLimitStatus | None:
        """Return the limit of an endpoint as it is believed, or None before its first answer."""
        with self._tenant.lock:
            belief = self._belief_of(endpoint)
            if belief is None:
                return None
            belief.grow(self._monotonic(), under_way=len(self._tenant.under_way))
            return RateLimitStatus(
                limit=belief.limit,
                remaining=max(belief.tokens, 0.0),
                per_second=belief.refill_per_second,
            )

    def has_room(self, endpoint: str) -> bool:
        """Return whether half of the tokens or more remain. Work that can wait asks this first.

        Work in the background empties the bucket by design, and leaves its room to all other work.
        """
        with self._tenant.lock:
            belief, now = self._belief_of(endpoint), self._monotonic()
            if belief is None or now - self._tenant.background_at < _BACKGROUND_REST_S:
                return True
            belief.grow(now, under_way=len(self._tenant.under_way))
            # Without a known refill rate, nothing is known of the bucket after its reset time.
            is_unknown = not belief.growth and now >= belief.reset_at
            return is_unknown or 2 * belief.tokens >= belief.limit

    def _belief_of(self, endpoint: str) -> Belief | None:
        return self._tenant.beliefs.get(self._tenant.limits.get(endpoint, 0))

    def _take(self, endpoint: str, *, in_background: bool = False) -> float:
        """Take one request and return 0, or return the seconds after which to ask again."""
        with self._tenant.lock:
            now = self._monotonic()
            self._end(now)  # a thread that asks again has finished its previous request
            if not in_background:
                self._tenant.live_waiting[self._caller()] = endpoint
            elif self._is_wanted_live(endpoint):
                return _RECHECK_S
            belief = self._belief_of(endpoint)
            if belief is None and self._awaits_first_answer(endpoint):
                return _RECHECK_S
            beliefs = [*self._tenant.beliefs.values()] if belief is None else [belief]
            wait_s = max(
                (self._wait_s(each, now, in_background=in_background) for each in beliefs),
                default=0.0,
            )
            if wait_s > 0:
                return wait_s
            self._tenant.live_waiting.pop(self._caller(), None)
            if in_background:
                self._tenant.background_at = now
            for each in beliefs:
                each.tokens -= 1
            self._tenant.under_way[self._caller()] = Request(
                endpoint=endpoint, sent_at=now, answered_before=belief.answered if belief else 0
            )
            return 0.0

    def _is_wanted_live(self, endpoint: str) -> bool:
        """Return whether a live request waits for a bucket that this endpoint may share."""
        limit = self._tenant.limits.get(endpoint)
        wanted = (self._tenant.limits.get(each) for each in self._tenant.live_waiting.values())
        return any(limit is None or each is None or each == limit for each in wanted)

    def _awaits_first_answer(self, endpoint: str) -> bool:
        """Return whether a pending answer will report the limit of this endpoint.

        While no limit is known, any pending request counts.
        """
        return any(
            request.endpoint == endpoint or not self._tenant.beliefs
            for request in self._tenant.under_way.values()
        )

    def _wait_s(self, belief: Belief, now: float, *, in_background: bool) -> float:
        """Return the seconds until a token may be available, or zero if one is now."""
        belief.grow(now, under_way=len(self._tenant.under_way))
        reserved = self._reserved(belief.limit)
        kept_for_live = max(0, min(LIVE_RESERVE, (belief.limit - reserved - 1) // 2))
        missing = reserved + (kept_for_live if in_background else 0) + 1 - belief.tokens
        if missing <= 0:
            return 0.0
        # While a refill is believed, the background waits for it, and leaves the reserve alone.
        may_look = not (in_background and belief.growth)
        if now >= belief.reset_at and not self._tenant.under_way and may_look:
            # The reset brought one token. Only an answer can show whether more are free.
            belief.tokens = max(belief.tokens, reserved + 1.0)
            return 0.0
        waits = [belief.reset_at - now] if belief.reset_at > now else []
        if belief.growth:
            waits.append(missing / belief.growth)
        if self._tenant.under_way:
            waits.append(_RECHECK_S)
        return max(min(waits), _SHORTEST_WAIT_S)

    def _reserved(self, limit: int) -> int:
        """Return the tokens that are reserved for others. One token is always ours."""
        # Floating point makes (1 - 0.8) * 50 a little less than 10, and other products a little
        # more. So round before `ceil`.
        return max(0, min(math.ceil(round((1 - self._share) * limit, 6)), limit - 1))

    def _sharing(self, limit: int, requests: Iterable[Request]) -> list[Request]:
        """Return the requests that may take a token under this limit."""
        return [
            request
            for request in requests
            if self._tenant.limits.get(request.endpoint, limit) == limit
        ]

    def _end(self, now: float) -> Request | None:
        """End this thread's request and return it.

        This also forgets the answered requests that the server served before every request that is
        still under way. Every later answer already counts those requests.
        """
        request = self._tenant.under_way.pop(self._caller(), None)
        if request is not None:
            request.answered_at = now
            self._tenant.answered.append(request)
        oldest = min((other.sent_at for other in self._tenant.under_way.values()), default=now)
        begun_at = oldest if request is None else min(oldest, request.sent_at)
        self._tenant.answered = [
            other for other in self._tenant.answered if other.may_be_served_after(begun_at)
        ]
        return request


def _wait(stopping: threading.Event, seconds: float) -> None:
    if stopping.wait(seconds):
        raise TransientError("stopped while waiting for the rate limit")
