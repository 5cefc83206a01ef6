"""Ranges of the log, and what of them is settled, whatever spans it is kept in."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from poller.core.events import Gap, LogCursor, Span
from poller.core.log_ids import LogId, floor_id, moment_of, predecessor


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRange:
    """A part `(after, until]` of the log."""

    after: LogId
    until: LogId

    @property
    def length(self) -> timedelta:
        begin, end = moment_of(self.after), moment_of(self.until)
        return max(end - begin, timedelta()) if begin and end else timedelta()


def settled(
    spans: Iterable[Span],
    gaps: Iterable[Gap] = (),
    *,
    revisits: Iterable[LogCursor] = (),
) -> tuple[LogRange, ...]:
    """Return the union of what the spans settled, without gaps and reopened gaps that are not read.

    A gap that was read once holds settled events, so it stays in. The live span reaches to where
    the end of the log was seen.
    """
    held = [LogRange(after=span.after, until=_end(span)) for span in spans]
    lost = [
        LogRange(after=gap.after, until=predecessor(gap.before) or gap.before)
        for gap in gaps
        if not gap.is_read_once
    ]
    lost += [LogRange(after=span.reached, until=span.until or span.reached) for span in revisits]
    return tuple(
        _without(merged(stretch for stretch in held if stretch.until > stretch.after), merged(lost))
    )


def merged(stretches: Iterable[LogRange]) -> tuple[LogRange, ...]:
    """The same with those that touch or overlap made one, oldest first."""
    found: list[LogRange] = []
    for stretch in sorted(stretches, key=lambda each: each.after):
        if found and stretch.after <= found[-1].until:
            found[-1] = LogRange(after=found[-1].after, until=max(found[-1].until, stretch.until))
        else:
            found.append(stretch)
    return tuple(found)


def clipped(stretches: Iterable[LogRange], after: LogId, until: LogId) -> tuple[LogRange, ...]:
    """What of them lies in `(after, until]`."""
    found = (
        LogRange(after=max(each.after, after), until=min(each.until, until)) for each in stretches
    )
    return tuple(stretch for stretch in found if stretch.until > stretch.after)


def holes(spans: Iterable[Span], *, since: LogId | None = None) -> tuple[LogRange, ...]:
    """Return what lies between spans and is in none of them, oldest first.

    With `since` also what lies above that position and below all of them.
    """
    owned = merged(
        LogRange(after=span.after, until=span.until or max(span.after, span.reached))
        for span in spans
    )
    if since is not None and owned and since < owned[0].after:
        owned = (LogRange(after=since, until=since), *owned)
    return tuple(LogRange(after=below.until, until=above.after) for below, above in pairwise(owned))


def covering(stretches: Iterable[LogRange], begin: datetime, end: datetime) -> LogRange | None:
    """The one of these merged stretches that holds all that was ingested from `begin` to before `end`."""
    after, until = floor_id(begin), floor_id(end)
    return next((each for each in stretches if each.after <= after and until <= each.until), None)


def _end(span: Span) -> LogId:
    return (
        max(span.reached, floor_id(span.drained_at))
        if span.is_live and span.drained_at
        else span.reached
    )


def _without(held: Sequence[LogRange], lost: Sequence[LogRange]) -> Iterator[LogRange]:
    for stretch in held:
        after = stretch.after
        for gone in lost:
            if gone.until <= after or gone.after >= stretch.until:
                continue
            if gone.after > after:
                yield LogRange(after=after, until=gone.after)
            after = gone.until
        if after < stretch.until:
            yield LogRange(after=after, until=stretch.until)
