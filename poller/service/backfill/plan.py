"""What a backfill has to do about a range of the log, by what the ledger holds of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from poller.core.log_ids import EARLIEST, LogId, floor_id, just_below, moment_of, predecessor
from poller.core.spans import Gap, LogCursor, LogRange, ReopenedGap, Span

SHORTEST_SLICE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done about `(since, until]`.

    `missing` are stretches in no span, `unfinished` spans and revisits that were begun, `gaps` recorded ones that can
    be read again from `oldest`, the oldest event kept. `settled` is what is in a span, and `again` what of it is to be
    sent once more. `is_cut_off`: a range was asked for that begins below what is kept.
    """

    since: LogId
    until: LogId
    missing: tuple[LogRange, ...] = ()
    unfinished: tuple[LogCursor, ...] = ()
    gaps: tuple[Gap, ...] = ()
    settled: tuple[LogRange, ...] = ()
    again: tuple[LogRange, ...] = ()
    oldest: LogId | None = None
    is_cut_off: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.missing or self.unfinished or self.gaps or self.again)

    @property
    def gone(self) -> tuple[LogRange, ...]:
        """Missing stretches that retention removed since what lies below was settled.

        They are walked all the same, so that each is recorded as a gap.
        """
        return tuple(
            stretch for stretch in self.missing if self.oldest and stretch.until < self.oldest
        )

    @property
    def kept(self) -> tuple[LogRange, ...]:
        """Missing stretches that can still be read."""
        gone = self.gone
        return tuple(stretch for stretch in self.missing if stretch not in gone)

    @property
    def stretches(self) -> tuple[LogRange, ...]:
        """All that is to be read, oldest first."""
        rest = (
            LogRange(after=span.reached, until=span.until)
            for span in self.unfinished
            if span.until is not None
        )
        lost = (_readable(gap, self.oldest) for gap in self.gaps)
        return tuple(
            sorted([*self.kept, *rest, *lost, *self.again], key=lambda stretch: stretch.after)
        )


def plan(
    spans: Sequence[Span],
    since: LogId,
    until: LogId,
    *,
    oldest: LogId | None,
    revisits: Sequence[LogCursor] = (),
    gaps: Sequence[Gap] = (),
    is_again: bool = False,
) -> Plan:
    """Return the plan for what was asked for, up to where the live span begins.

    What is to be sent again may lie in the live span too, as far as that has come.
    """
    asked_since, end = since, until
    is_below = oldest is not None and since < min(just_below(oldest), end)
    is_cut_off = is_below and since != EARLIEST
    begun = tuple(
        span
        for span in [*(span for span in spans if not span.is_done), *revisits]
        # Also what retention has taken by now: who walks it records the gap.
        if span.until is not None and span.reached < end and span.until > asked_since
    )
    live = [span.after for span in spans if span.is_live]
    gone: tuple[LogRange, ...] = ()
    if oldest is not None and is_below:
        since = just_below(oldest)
        gone = _gone(spans, asked_since, min([since, end, *live]))
    if oldest is None or since >= end:
        until = max(since, end)
        return Plan(
            since=since,
            until=until,
            missing=gone,
            unfinished=begun,
            oldest=oldest,
            is_cut_off=is_cut_off,
        )
    asked = LogRange(after=since, until=end)
    settled = tuple(
        _within(asked, [LogRange(after=span.after, until=span.reached) for span in spans])
    )
    until = min([end, *live])
    kept = (
        tuple(_without(LogRange(after=since, until=until), _ended(spans))) if since < until else ()
    )
    return Plan(
        since=since,
        until=end if is_again else max(until, since),
        missing=(*gone, *kept),
        unfinished=begun,
        gaps=_to_read_again(gaps, revisits, max(since, oldest), end),
        settled=settled,
        again=tuple(
            _without_all(
                settled, [LogRange(after=s.reached, until=s.until) for s in revisits if s.until]
            )
        )
        if is_again
        else (),
        oldest=oldest,
        is_cut_off=is_cut_off,
    )


def cut(stretches: Sequence[LogRange], pieces: int) -> tuple[LogRange, ...]:
    """The stretches in about so many slices of equal time, oldest first; none shorter than it is worth."""
    total = sum((stretch.length for stretch in stretches), timedelta())
    wanted = max(total / max(pieces, 1), SHORTEST_SLICE)
    return tuple(piece for stretch in stretches for piece in _cut(stretch, wanted))


def _cut(stretch: LogRange, wanted: timedelta) -> Iterator[LogRange]:
    begin = moment_of(stretch.after)
    # Rounded, so that what is a little less than a whole number of pieces makes that number.
    pieces = round(stretch.length / wanted) if begin else 0
    rest = stretch
    for number in range(1, pieces):
        at = floor_id(begin + number * stretch.length / pieces) if begin else rest.until
        if rest.after < at < rest.until:
            yield LogRange(after=rest.after, until=at)
            rest = replace(rest, after=at)
    yield rest


def _gone(spans: Sequence[Span], since: LogId, until: LogId) -> tuple[LogRange, ...]:
    """Return what of `(since, until]`, which retention removed, lies above a span and is in none.

    What lies below all spans was never begun, and is no loss that anybody has to be told of.
    """
    begun = [span.after for span in spans if (span.until or span.reached) >= since]
    after = max(since, min(begun, default=until))
    return (
        tuple(_without(LogRange(after=after, until=until), _ended(spans))) if after < until else ()
    )


def _ended(spans: Sequence[Span]) -> list[LogRange]:
    return [
        LogRange(after=span.after, until=span.until) for span in spans if span.until is not None
    ]


def _readable(gap: Gap, oldest: LogId | None) -> LogRange:
    after = max(gap.after, just_below(oldest)) if oldest else gap.after
    return LogRange(after=after, until=predecessor(gap.before) or gap.before)


def _to_read_again(
    gaps: Sequence[Gap], revisits: Sequence[LogCursor], begin: LogId, end: LogId
) -> tuple[Gap, ...]:
    """Those that reach into what is kept and asked for, and that nobody has begun to read again."""
    at_work = [
        LogRange(after=each.reached, until=each.until)
        for each in revisits
        if each.until and isinstance(each, ReopenedGap)
    ]
    unread = (gap for gap in gaps if not gap.is_read_once)
    kept = (gap for gap in unread if max(gap.after, begin) < gap.before and gap.after < end)
    return tuple(
        _disjoint(
            gap
            for gap in kept
            if not any(other.after < gap.before and gap.after < other.until for other in at_work)
        )
    )


def _disjoint(gaps: Iterator[Gap]) -> Iterator[Gap]:
    """Those that begin above the end of the one before: where two overlap, the other is found the next time."""
    end = LogId("")
    for gap in sorted(gaps, key=lambda gap: gap.after):
        if gap.after >= end:
            end = gap.before
            yield gap


def _within(whole: LogRange, parts: Sequence[LogRange]) -> Iterator[LogRange]:
    """What of the whole these cover, as their union."""
    missing = [*_without(whole, parts)]
    return _without(whole, missing)


def _without_all(wholes: Sequence[LogRange], covered: Sequence[LogRange]) -> Iterator[LogRange]:
    for whole in wholes:
        yield from _without(whole, covered)


def _without(whole: LogRange, covered: Sequence[LogRange]) -> Iterator[LogRange]:
    """What of the whole none of these covers."""
    after = whole.after
    for other in sorted(covered, key=lambda stretch: stretch.after):
        if other.until <= after or other.after >= whole.until:
            continue
        if other.after > after:
            yield LogRange(after=after, until=other.after)
        after = max(after, other.until)
    if after < whole.until:
        yield LogRange(after=after, until=whole.until)
