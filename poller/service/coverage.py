"""Which stretches of the log are settled, whatever spans they are kept in."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from poller.core.events import Gap, LogCursor, LogId, Span, floor_id, predecessor
from poller.service.backfill.plan import Stretch


def settled(
    spans: Iterable[Span],
    gaps: Iterable[Gap] = (),
    *,
    revisits: Iterable[LogCursor] = (),
) -> tuple[Stretch, ...]:
    """Return the union of what the spans settled, without gaps and reopened gaps that are not read.

    A gap that was read once holds settled events, so it stays in. The live span reaches to where
    the end of the log was seen.
    """
    held = [Stretch(after=span.after, until=_end(span)) for span in spans]
    lost = [
        Stretch(after=gap.after, until=predecessor(gap.before) or gap.before) for gap in gaps if not gap.is_read_once
    ]
    lost += [Stretch(after=span.reached, until=span.until or span.reached) for span in revisits]
    return tuple(_without(merged(stretch for stretch in held if stretch.until > stretch.after), merged(lost)))


def merged(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """The same with those that touch or overlap made one, oldest first."""
    found: list[Stretch] = []
    for stretch in sorted(stretches, key=lambda each: each.after):
        if found and stretch.after <= found[-1].until:
            found[-1] = Stretch(after=found[-1].after, until=max(found[-1].until, stretch.until))
        else:
            found.append(stretch)
    return tuple(found)


def clipped(stretches: Iterable[Stretch], after: LogId, until: LogId) -> tuple[Stretch, ...]:
    """What of them lies in `(after, until]`."""
    found = (Stretch(after=max(each.after, after), until=min(each.until, until)) for each in stretches)
    return tuple(stretch for stretch in found if stretch.until > stretch.after)


def holes(spans: Iterable[Span], *, since: LogId | None = None) -> tuple[Stretch, ...]:
    """Return what lies between spans and is in none of them, oldest first.

    With `since` also what lies above that position and below all of them.
    """
    owned = merged(Stretch(after=span.after, until=span.until or max(span.after, span.reached)) for span in spans)
    if since is not None and owned and since < owned[0].after:
        owned = (Stretch(after=since, until=since), *owned)
    return tuple(Stretch(after=below.until, until=above.after) for below, above in pairwise(owned))


def covering(stretches: Iterable[Stretch], begin: datetime, end: datetime) -> Stretch | None:
    """The one of these merged stretches that holds all that was ingested from `begin` to before `end`."""
    after, until = floor_id(begin), floor_id(end)
    return next((each for each in stretches if each.after <= after and until <= each.until), None)


def _end(span: Span) -> LogId:
    return max(span.reached, floor_id(span.drained_at)) if span.is_live and span.drained_at else span.reached


def _without(held: Sequence[Stretch], lost: Sequence[Stretch]) -> Iterator[Stretch]:
    for stretch in held:
        after = stretch.after
        for gone in lost:
            if gone.until <= after or gone.after >= stretch.until:
                continue
            if gone.after > after:
                yield Stretch(after=after, until=gone.after)
            after = gone.until
        if after < stretch.until:
            yield Stretch(after=after, until=stretch.until)
