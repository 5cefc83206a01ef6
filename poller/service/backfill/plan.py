"""The plan of a backfill: the work that a range of the log needs, by what the ledger holds of it.

The planner only compares ranges. It reads neither the log nor the ledger.

A backfill never reads above the beginning of the live span, since the daemon owns that part. Only
ranges that are sent again may lie there, up to the position of the daemon.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

from poller.core.log_ids import (
    EARLIEST,
    LogId,
    just_below,
    predecessor,
)
from poller.core.spans import (
    Gap,
    Inherited,
    LogCursor,
    LogRange,
    Redelivery,
    ReopenedGap,
    Span,
    clip,
    difference,
    is_of_catch_up,
    union,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The work that `(since, until]` needs.

    - `missing` are ranges that belong to no span.
    - `unfinished` are spans and revisits that were begun.
    - `gaps` are recorded gaps that can be read again from `oldest`, the oldest event kept.
    - `settled` are the ranges that spans have settled.
    - `again` are the settled ranges that are to be sent once more.
    - `catching_up` are the ranges that the daemon is catching up. They are left to the daemon.

    `is_cut_off` says that the range begins below `oldest`, so a part of it cannot be sent.
    """

    since: LogId
    until: LogId
    missing: tuple[LogRange, ...] = ()
    unfinished: tuple[LogCursor, ...] = ()
    gaps: tuple[Gap, ...] = ()
    settled: tuple[LogRange, ...] = ()
    again: tuple[LogRange, ...] = ()
    catching_up: tuple[LogRange, ...] = ()
    oldest: LogId | None = None
    is_cut_off: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.missing or self.unfinished or self.gaps or self.again)

    @property
    def gone(self) -> tuple[LogRange, ...]:
        """The missing ranges that retention has removed.

        A worker walks them anyway: the walk finds nothing, and records each as a gap.
        """
        return tuple(each for each in self.missing if self.oldest and each.until < self.oldest)

    @property
    def kept(self) -> tuple[LogRange, ...]:
        """The missing ranges that can still be read."""
        gone = self.gone
        return tuple(each for each in self.missing if each not in gone)

    @property
    def ranges_to_read(self) -> tuple[LogRange, ...]:
        """All ranges that will be read, oldest first."""
        gaps = (_readable_part(gap, self.oldest) for gap in self.gaps)
        ranges = (*self.kept, *_unread_parts(self.unfinished), *gaps, *self.again)
        return tuple(sorted(ranges, key=lambda each: each.after))

    def without_catch_up(self) -> Self:
        """Return the same plan for a backfill beside a daemon, which walks its own slices."""
        left = [each for each in self.unfinished if is_of_catch_up(each)]
        rest = tuple(each for each in self.unfinished if not is_of_catch_up(each))
        return replace(self, unfinished=rest, catching_up=union(_unread_parts(left)))


def plan(  # noqa: PLR0913 - what the ledger holds, and what is asked for
    spans: Sequence[Span],
    since: LogId,
    until: LogId,
    *,
    oldest: LogId | None,
    revisits: Sequence[LogCursor] = (),
    gaps: Sequence[Gap] = (),
    begun_after: LogId | None = None,
    is_again: bool = False,
) -> Plan:
    """Return the plan for `(since, until]`.

    `oldest` is the oldest event kept, or None if the log is empty. `begun_after` is the lowest
    place at which the daemon was to begin.
    """
    readable_since = _readable_since(since, until, oldest)
    end = min([until, *(span.after for span in spans if span.is_live)])
    basis = Plan(
        since=readable_since,
        until=max(readable_since, until),
        missing=_removed(spans, since, min(readable_since, end), begun_after),
        unfinished=_unfinished(spans, revisits, since, until),
        oldest=oldest,
        is_cut_off=since != EARLIEST and since < readable_since,
    )
    if oldest is None or readable_since >= until:
        return basis
    settled = _settled(spans, revisits, readable_since, until)
    basis = replace(
        basis,
        until=max(end, readable_since),
        missing=basis.missing + _missing(spans, readable_since, end),
        gaps=_gaps_to_read(_passed(gaps, spans), revisits, max(readable_since, oldest), until),
        settled=settled,
    )
    if is_again:
        whole = _unread_parts(each for each in revisits if not isinstance(each, Inherited))
        return replace(basis, until=until, again=difference(settled, whole))
    return basis


def _readable_since(since: LogId, until: LogId, oldest: LogId | None) -> LogId:
    """Return the lowest id at which reading can begin, just below the oldest event kept."""
    if oldest is None or since >= min(just_below(oldest), until):
        return since
    return just_below(oldest)


def _settled(
    spans: Iterable[Span], revisits: Iterable[LogCursor], since: LogId, until: LogId
) -> tuple[LogRange, ...]:
    """Return the parts of `(since, until]` that are settled and went to the right write key."""
    ranges = union(LogRange(after=span.after, until=span.reached) for span in spans)
    undelivered = _unread_parts(each for each in revisits if isinstance(each, Redelivery))
    return difference(clip(ranges, since, until), undelivered)


def _missing(spans: Iterable[Span], since: LogId, until: LogId) -> tuple[LogRange, ...]:
    """Return the parts of `(since, until]` that belong to no bounded span, settled or not."""
    owned = [LogRange(after=span.after, until=span.until) for span in spans if span.until]
    return difference([LogRange(after=since, until=until)], owned)


def _removed(
    spans: Sequence[Span], since: LogId, until: LogId, begun_after: LogId | None
) -> tuple[LogRange, ...]:
    """Return the missing parts of `(since, until]`, which retention removed, above a beginning.

    Parts below all spans and below the daemon's beginning are left out. No run began them, so they
    are not a loss of this ledger.
    """
    begun = [span.after for span in spans if (span.until or span.reached) >= since]
    if begun_after is not None:
        begun.append(begun_after)
    return _missing(spans, max(since, min(begun, default=until)), until)


def _unfinished(
    spans: Iterable[Span], revisits: Iterable[LogCursor], since: LogId, until: LogId
) -> tuple[LogCursor, ...]:
    """Return the bounded spans and revisits that are begun and overlap `(since, until]`.

    Parts that retention has removed by now are included: the walk will record their gaps.
    """
    cursors = (*(span for span in spans if not span.is_done), *revisits)
    return tuple(
        each
        for each in cursors
        if each.until is not None and each.reached < until and each.until > since
    )


def _unread_parts(cursors: Iterable[LogCursor]) -> list[LogRange]:
    return [LogRange(after=each.reached, until=each.until) for each in cursors if each.until]


def _readable_part(gap: Gap, oldest: LogId | None) -> LogRange:
    after = max(gap.after, just_below(oldest)) if oldest else gap.after
    return LogRange(after=after, until=predecessor(gap.before) or gap.before)


def _passed(gaps: Iterable[Gap], spans: Sequence[Span]) -> Iterator[Gap]:
    """Yield the gaps that a span has passed. It reads another one itself, once it can be read.

    An empty log shows a gap, and does not move the position.
    """
    for gap in gaps:
        if any(span.after <= gap.after < span.reached for span in spans):
            yield gap


def _gaps_to_read(
    gaps: Iterable[Gap], revisits: Iterable[LogCursor], begin: LogId, end: LogId
) -> tuple[Gap, ...]:
    """Return the gaps that reach into the readable range and that no revisit reads already."""
    reopened = _unread_parts(each for each in revisits if isinstance(each, ReopenedGap))
    readable = [
        gap
        for gap in gaps
        if not gap.is_read_once
        and max(gap.after, begin) < gap.before
        and gap.after < end
        and not any(each.after < gap.before and gap.after < each.until for each in reopened)
    ]
    return tuple(_disjoint(readable))


def _disjoint(gaps: Iterable[Gap]) -> Iterator[Gap]:
    """Yield gaps that do not overlap. Another one is left for the next backfill to find."""
    end = LogId("")
    for gap in sorted(gaps, key=lambda gap: gap.after):
        if gap.after >= end:
            end = gap.before
            yield gap
