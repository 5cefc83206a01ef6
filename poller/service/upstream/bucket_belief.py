"""The belief about one token bucket of the server. Pure arithmetic, without locks or waiting.

Auth0 limits requests by a token bucket. It holds up to `limit` tokens, each request takes one, and
tokens come back at a steady rate. A request that finds no token is refused with a 429.

After each request the server reports how many tokens remain. That number has three weaknesses:
it is rounded down, it is as old as the answer, and it leaves out the requests that the server
served after this one. Nor does the server report at which rate tokens come back. So the program
keeps a belief, and the rule for the belief is that it is never above the truth, as long as no
other application takes tokens. Then no request of ours is ever refused. A belief below the truth
costs only a little speed.

The belief moves in four ways:

- A request goes out: the belief loses one token immediately.
- Time passes: the belief gains tokens, at the lowest rate that the answers have proved (see
  `learn`).
- An answer arrives: the belief is moved between the least and the most that the answer allows
  (see `correct`).
- A request is refused: the belief was too high, so it starts again from nothing with half of
  the rate (see `distrust`).

Other applications of the tenant take tokens too, and the server does not report when. They show as
a belief that was far too high. Then a smaller part of the refill is believed (`trust`), until
answers show that the others have stopped.
"""

import threading
from dataclasses import dataclass, field
from typing import Self

_SHORTEST_MEASUREMENT_S = 10.0
"""The least time before a full bucket begins a new measurement of the refill.

A small bucket may be full after each request. Measurements of one request each prove nothing.
"""
_TAKEN_BY_OTHERS = 2.0  # tokens, because a smaller difference may be our own rounding
_LEAST_TRUST = 0.05
"""The trust below which no refill is believed. Then only the reset times say when to ask."""


@dataclass(slots=True, kw_only=True)
class Request:
    """A request of ours, under way or answered."""

    endpoint: str
    sent_at: float
    answered_before: int
    """The number of requests under the same limit that were answered when this request went out."""
    answered_at: float | None = None

    def may_be_served_after(self, moment: float) -> bool:
        """Return whether the server may have served this request after the moment."""
        return self.answered_at is None or self.answered_at > moment


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """The answer from which the refill is measured."""

    sent_at: float
    answered_at: float
    held: float
    """The tokens that remained then, at most."""
    taken: int
    """The requests of ours that the server had served by then, at most."""


@dataclass(slots=True, kw_only=True)
class Belief:
    """The tokens that are believed to be in one bucket. Not thread-safe."""

    limit: int
    tokens: float
    """The tokens as of `at`. A number below zero says that requests went out on old tokens."""
    at: float
    reset_at: float
    """The time at which the server adds its next token."""
    anchor: Anchor
    refill_per_second: float = 0.0
    """The lowest rate that the answers have proved."""
    trust: float = 1.0
    """The part of the refill that other applications leave to us."""
    answered: int = 0

    @classmethod
    def from_first_answer(
        cls, request: Request, *, limit: int, remaining: int, now: float, under_way: int
    ) -> Self:
        """Begin a belief with the headers of the first answer under a limit."""
        anchor = Anchor(
            sent_at=request.sent_at,
            answered_at=now,
            held=min(remaining + 1, limit),
            taken=1 + under_way,  # the first is the request itself
        )
        return cls(limit=limit, tokens=remaining, at=now, reset_at=now, anchor=anchor)

    @property
    def growth(self) -> float:
        """The tokens that come back in a second, as far as we can count on them."""
        return self.refill_per_second * self.trust

    def grow(self, now: float, *, under_way: int) -> None:
        """Add the tokens that came back since the last look.

        A full bucket takes no more tokens. The server may take off the requests under way only
        now, from a bucket that was full until now. So there is room for `limit - under_way`.
        """
        most = max(self.limit - under_way, self.tokens)
        self.tokens = min(self.tokens + (now - self.at) * self.growth, most)
        self.at = now

    def learn(self, request: Request, remaining: int, now: float, *, under_way: int) -> None:
        """Raise the believed refill to the rate that an answer proves.

        Between the anchor and this answer, tokens came in, and we know how many at least: the
        tokens that remain now, plus the tokens that our requests took, minus the tokens of the
        anchor. Each of the three numbers is taken at its worst, and the time at its longest. Other
        applications and a bucket that was full only make the result lower. So the rate is never
        above the truth.
        """
        self.answered += 1
        if request.sent_at > self.anchor.answered_at:
            taken = request.answered_before - self.anchor.taken + 1
            came_in = remaining - self.anchor.held + taken
            self.refill_per_second = max(
                self.refill_per_second, came_in / (now - self.anchor.sent_at)
            )
        is_full = remaining >= self.limit - 1
        if is_full and now - self.anchor.answered_at > _SHORTEST_MEASUREMENT_S:
            # Tokens that came to a full bucket were lost. Measure from here.
            self.anchor = Anchor(
                sent_at=request.sent_at,
                answered_at=now,
                held=min(remaining + 1, self.limit),
                taken=self.answered + under_way,
            )

    def distrust(self, now: float, *, under_way: int) -> None:
        """Begin the belief again after a refusal, which shows a bucket of less than one token."""
        self.refill_per_second /= 2
        self.tokens = min(self.tokens, 0.0)
        self.anchor = Anchor(
            sent_at=now, answered_at=now, held=1.0, taken=self.answered + under_way
        )

    def correct(self, least: float, most: float, *, has_room: bool) -> None:
        """Move the belief between the least and the most that an answer allows.

        A belief that was far too high shows that others take tokens. `has_room` says that the
        bucket holds more than the part that is reserved for others, which shows that they stopped.
        """
        if self.tokens - most > _TAKEN_BY_OTHERS:
            self.trust /= 2
            if self.trust < _LEAST_TRUST:
                self.trust = 0.0
        elif has_room:
            self.trust = min(1.0, 2 * self.trust + 0.1)
        self.tokens = max(least, min(self.tokens, most))


@dataclass(slots=True, kw_only=True)
class TenantLimits:
    """The limits of one tenant as they are known, and the requests that count against them.

    Hold the `lock` to look at the rest. The keys of `under_way` and `live_waiting` are threads.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    beliefs: dict[int, Belief] = field(default_factory=dict)
    """The belief about each limit that the server has reported."""
    limits: dict[str, int] = field(default_factory=dict)
    """The limit of each endpoint that has answered."""
    under_way: dict[int, Request] = field(default_factory=dict)
    """The request of each thread."""
    answered: list[Request] = field(default_factory=list)
    """Answered requests that a pending answer may not yet count."""
    live_waiting: dict[int, str] = field(default_factory=dict)
    """The endpoint that each waiting thread of live polling asks for."""
    background_at: float = float("-inf")
    """The time at which work in the background took a token last."""
