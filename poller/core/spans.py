"""Ranges of the log: spans, gaps and what else is read, and the only interval algebra there is.

A range `(after, until]` leaves out its lower end and holds its upper end, since a request for the
log leaves out the id that it names. So two ranges touch if one ends at the `after` of the other.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Self

from poller.core.events import Stream
from poller.core.log_ids import LogId, floor_id, moment_of, predecessor

_BELOW_ALL = LogId("")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRange:
    """A part `(after, until]` of the log, with no claim about what is settled in it."""

    after: LogId
    until: LogId

    @property
    def length(self) -> timedelta:
        """The time between the ends, or zero if one of the ends holds no time."""
        begin, end = moment_of(self.after), moment_of(self.until)
        if begin and end:
            return max(end - begin, timedelta())
        return timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A part `(after, before)` of the log that was asked for after retention had removed it.

    `is_read_once` says that the log was read there before, so that only late arrivals can be
    missing. Such a gap is never read again, since that would send its other events a second time.
    """

    after: LogId
    before: LogId
    is_read_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCursor:
    """A part `(after, until]` of the log that is read upwards, and how far it is read: `reached`.

    `drained_at` is the server's time up to which the log held nothing more above `reached`.
    `fence` is the number of the owner that began to work on it last, or 0.
    """

    id: int
    stream: Stream
    after: LogId
    reached: LogId
    until: LogId | None = None
    drained_at: datetime | None = None
    fence: int = 0

    @property
    def is_done(self) -> bool:
        return self.until is not None and self.reached >= self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class Span(LogCursor):
    """A part `(after, reached]` of the log in which every event of interest is settled.

    The live span has no `until` and owns everything above its `after`. Up to `confirmed` the log
    was read late enough to hold no late arrivals. `(confirmed, reached]` is read a second time.
    With `is_catch_up`, a bounded span is a slice of the daemon's catch-up.
    """

    confirmed: LogId = _BELOW_ALL
    is_catch_up: bool = False

    @classmethod
    def unsettled(
        cls, stream: Stream, *, after: LogId, until: LogId | None, fence: int = 0
    ) -> Self:
        """Return a span that has settled nothing. Its id is 0 until the ledger records it."""
        return cls(
            id=0,
            stream=stream,
            after=after,
            reached=after,
            until=until,
            confirmed=after,
            fence=fence,
        )

    @property
    def is_live(self) -> bool:
        return self.until is None

    def second_reading(self, until: LogId) -> "SecondReading":
        """Return the part `(confirmed, until]` of the live span as it is read a second time."""
        begin = max(self.confirmed, self.after)
        return SecondReading(
            id=self.id,
            stream=self.stream,
            after=begin,
            reached=begin,
            until=until,
            fence=self.fence,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondReading(LogCursor):
    """A part of the live span, by the span's id. Settling a page of it moves `confirmed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadStretch(LogCursor):
    """A part that a second reading still has to read. It belongs to no span."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReopenedGap(LogCursor):
    """A recorded gap that can be read after all. Its events were never settled, so they count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited(LogCursor):
    """A settled part that is read again for the events that a removed route left behind there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resend(LogCursor):
    """A settled part that is sent again at will. Its events were counted before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redelivery(Resend):
    """A part whose messages went to a wrong write key, so that nothing of it arrived.

    Its events were counted before, and are not settled again until it is read.
    """


def is_in(ranges: Iterable[LogRange], log_id: LogId) -> bool:
    """Return whether one of the ranges holds the id."""
    return any(each.after < log_id <= each.until for each in ranges)


def union(ranges: Iterable[LogRange]) -> tuple[LogRange, ...]:
    """Return the same part of the log as few ranges, oldest first, without any that is empty.

    Ranges that touch or overlap become one.
    """
    joined: list[LogRange] = []
    for each in sorted(ranges, key=lambda each: each.after):
        if each.until <= each.after:
            continue
        if joined and each.after <= joined[-1].until:
            until = max(joined[-1].until, each.until)
            joined[-1] = LogRange(after=joined[-1].after, until=until)
        else:
            joined.append(each)
    return tuple(joined)


def difference(kept: Iterable[LogRange], removed: Iterable[LogRange]) -> tuple[LogRange, ...]:
    """Return what the kept ranges hold and the removed ones do not, oldest first."""
    cuts = union(removed)
    return tuple(rest for each in union(kept) for rest in _without(each, cuts))


def _without(kept: LogRange, cuts: Iterable[LogRange]) -> Iterator[LogRange]:
    """Yield what is left of one range. The cuts are in order and do not touch each other."""
    after = kept.after
    for cut in cuts:
        if cut.until <= after or cut.after >= kept.until:
            continue
        if cut.after > after:
            yield LogRange(after=after, until=cut.after)
        after = cut.until
    if after < kept.until:
        yield LogRange(after=after, until=kept.until)


def clip(ranges: Iterable[LogRange], after: LogId, until: LogId) -> tuple[LogRange, ...]:
    """Return the parts of the ranges that lie in `(after, until]`, in the order of the ranges."""
    parts = (
        LogRange(after=max(each.after, after), until=min(each.until, until)) for each in ranges
    )
    return tuple(part for part in parts if part.until > part.after)


def settled_ranges(
    spans: Iterable[Span], gaps: Iterable[Gap] = (), *, revisits: Iterable[LogCursor] = ()
) -> tuple[LogRange, ...]:
    """Return what the spans settled, without their gaps.

    A gap that was read once holds settled events, so it stays in. Of `revisits`, which are
    redeliveries and gaps that are read after all, what is not read yet is left out. The live span
    reaches to the time at which the end of the log was seen last.
    """
    settled = (LogRange(after=span.after, until=settled_end(span)) for span in spans)
    lost = [
        LogRange(after=gap.after, until=predecessor(gap.before) or gap.before)
        for gap in gaps
        if not gap.is_read_once
    ]
    unread = [LogRange(after=each.reached, until=each.until or each.reached) for each in revisits]
    return difference(settled, lost + unread)


def settled_end(span: Span) -> LogId:
    """Return the position up to which the span is settled.

    The live span is settled up to the time at which the end of the log was seen last.
    """
    if span.is_live and span.drained_at:
        return max(span.reached, floor_id(span.drained_at))
    return span.reached


def holes_between(spans: Iterable[Span], *, since: LogId | None = None) -> tuple[LogRange, ...]:
    """Return the parts of the log that lie between spans and belong to none, oldest first.

    With `since`, the part above that position and below all spans is a hole too.
    """
    owned = [
        LogRange(after=span.after, until=span.until or max(span.after, span.reached))
        for span in spans
    ]
    if not owned:
        return ()
    lowest = min(each.after for each in owned)
    highest = max(each.until for each in owned)
    begin = lowest if since is None else min(since, lowest)
    return difference([LogRange(after=begin, until=highest)], owned)


def catch_up_slices(
    live: Span, *, present: LogId, ends: Sequence[LogId]
) -> tuple[tuple[Span, ...], Span]:
    """Return the slices between the position of the live span and `present`, and a new live span.

    The slices end at `ends` and at `present`, oldest first. None of the spans has an id yet. If
    the end of the log was seen shortly before the outage, retention removed nothing above the
    position. So the slices take over the time at which the end of the log was seen.

    Raises:
        ValueError: `ends` do not rise, or do not lie between the position and `present`.
    """
    edges = [live.reached, *ends, present]
    if any(above <= below for below, above in pairwise(edges)):
        raise ValueError("the ends of a catch-up rise from the position to the present")
    slices = (
        Span.unsettled(live.stream, after=after, until=until) for after, until in pairwise(edges)
    )
    marked = tuple(replace(each, is_catch_up=True, drained_at=live.drained_at) for each in slices)
    return marked, Span.unsettled(live.stream, after=present, until=None)


def unfinished_catch_up(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the slices of catch-ups that are not finished, in the order of the spans."""
    return tuple(span for span in spans if span.is_catch_up and not span.is_done)


def is_of_catch_up(cursor: LogCursor) -> bool:
    """Return whether the cursor is a part of the daemon's backlog."""
    return isinstance(cursor, Inherited) or (isinstance(cursor, Span) and cursor.is_catch_up)


def range_covering(ranges: Iterable[LogRange], begin: datetime, end: datetime) -> LogRange | None:
    """Return the first range that holds all that was ingested from `begin` to before `end`.

    The ranges are a union, so that no two of them together cover more than each alone.
    """
    after, until = floor_id(begin), floor_id(end)
    return next((each for each in ranges if each.after <= after and until <= each.until), None)


def join_touching(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the spans, by `after`, with each finished span joined to the span that it touches.

    A finished span ends at its `until`. If another span begins there, one row can say what two
    rows say now. The upper row stays, since a worker may hold it: only its `after` moves down.
    `confirmed` stays too. The part of the lower span that has to be read a second time became an
    unread stretch of its own when the lower span was finished.
    """
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.after, span.id)):
        if joined and joined[-1].is_done and joined[-1].until == span.after:
            joined.append(replace(span, after=joined.pop().after))
        else:
            joined.append(span)
    return tuple(joined)
