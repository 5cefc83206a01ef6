"""What the metrics say, as of one moment: immutable, so that a scrape sees a page whole or not at all."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import accumulate
from typing import Self

Counts = Mapping[str, int]

AGES_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21_600.0, 86_400.0)
LATENCIES_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How many values were at most each of `bounds`, and above the last; not yet summed up from below."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float = 0.0

    @classmethod
    def empty(cls, bounds: tuple[float, ...]) -> Self:
        return cls(bounds=bounds, counts=(0,) * (len(bounds) + 1))

    def adding(self, values: Iterable[float]) -> "Distribution":
        """With these values too; one below zero, of clocks that disagree, counts as zero."""
        counts, total = list(self.counts), self.sum
        for value in values:
            counts[bisect_left(self.bounds, value)] += 1
            total += max(value, 0.0)
        return replace(self, counts=tuple(counts), sum=total)

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def cumulative(self) -> tuple[int, ...]:
        return tuple(accumulate(self.counts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What the tenant's headers said last of one rate limit."""

    limit: int
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which requests are counted together."""

    service: str
    call: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Counts are by event type, kind of message or bucket, since the process began.

    The log is settled up to `caught_up_at` in event time, and up to `position_at` in the time of log ids; both are the
    server's time, and that of the last look where there was no more.
    """

    read: Counts = field(default_factory=dict)
    forwarded: Counts = field(default_factory=dict)
    filtered: Counts = field(default_factory=dict)
    dead_lettered: Counts = field(default_factory=dict)
    messages: Counts = field(default_factory=dict)
    gaps: int = 0
    event_age: Distribution = field(default_factory=lambda: Distribution.empty(AGES_S))
    indexing_delay: Distribution = field(default_factory=lambda: Distribution.empty(AGES_S))
    requests: Mapping[Request, Distribution] = field(default_factory=dict)
    limits: Mapping[str, Limit] = field(default_factory=dict)
    waited_s: Mapping[str, float] = field(default_factory=dict)
    caught_up_at: datetime | None = None
    position_at: datetime | None = None
    retention_s: float | None = None
    confirmed_at: datetime | None = None
    succeeded_at: datetime | None = None
    is_blocked: bool = False

    def settled(self, kind: str) -> int:
        return sum(
            counts.get(kind, 0) for counts in (self.forwarded, self.filtered, self.dead_lettered)
        )

    @property
    def in_hand(self) -> int:
        """Events that were read and are not settled yet."""
        return sum(self.read.values()) - sum(map(self.settled, self.read))
