"""The counts of log events that must fit together whenever somebody looks.

The promise to operators is read = forwarded + filtered + dead-lettered + in hand, at every scrape.
Four counters of a metrics library cannot keep that promise: a scrape between two of their updates
would see a page half counted. So the four counts are one immutable value. The meter replaces the
whole value once a page, and a scrape takes it once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

Counts = Mapping[str, int]
"""Numbers of events by event type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCounts:
    """The log events since the start of the process. No count ever goes down."""

    read: Counts = field(default_factory=dict)
    forwarded: Counts = field(default_factory=dict)
    filtered: Counts = field(default_factory=dict)
    dead_lettered: Counts = field(default_factory=dict)

    @classmethod
    def zero(cls, types: set[str]) -> Self:
        """Return a count of zero for each type. With it, the first event is an increase."""
        zeros = dict.fromkeys(types, 0)
        return cls(read=zeros, forwarded=zeros, filtered=zeros, dead_lettered=zeros)

    def settled(self, event_type: str) -> int:
        """Return the number of events of a type that are no longer in hand."""
        outcomes = (self.forwarded, self.filtered, self.dead_lettered)
        return sum(counts.get(event_type, 0) for counts in outcomes)

    @property
    def in_hand(self) -> int:
        """The number of events that were read and are not settled yet."""
        return sum(self.read.values()) - sum(map(self.settled, self.read))

    def after_fetch(self, page: Counts) -> Self:
        """Return the counts with this page in hand, instead of any page that was in hand before.

        A page that is fetched again after a failure therefore counts once. A page can come back
        shorter, because retention removed its first events. `read` stays as high as it was then,
        and the difference stays in hand until other events take its place.
        """
        names = {*self.read, *page}
        return replace(
            self,
            read={
                name: max(self.read.get(name, 0), self.settled(name) + page.get(name, 0))
                for name in names
            },
        )

    def after_settle(
        self,
        *,
        forwarded: Counts,
        filtered: Counts,
        dead_lettered: Counts,
        was_in_hand: bool = True,
    ) -> Self:
        """Return the counts with these events settled.

        Events of a second reading or of a backlog were never in hand. They raise `read`.
        """
        events = _sum(_sum(forwarded, filtered), dead_lettered)
        settled = replace(
            self,
            read=self.read if was_in_hand else _sum(self.read, events),
            forwarded=_sum(self.forwarded, forwarded),
            filtered=_sum(self.filtered, filtered),
            dead_lettered=_sum(self.dead_lettered, dead_lettered),
        )
        if was_in_hand:
            return settled.after_fetch(dict.fromkeys(events, 0))
        return settled


def _sum(counts: Counts, more: Counts) -> Counts:
    return {name: counts.get(name, 0) + more.get(name, 0) for name in {*counts, *more}}
