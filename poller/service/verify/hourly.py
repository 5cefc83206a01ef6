"""The comparison of each hour with the log itself. It sends and stores nothing.

The settled part of the log is read once more and counted by hour and type. The ledger counted the
same events when it settled them, so the two counts of an hour must be equal. Three things make it
less simple:

- An event is logged some seconds after its date (recorded: at most 6 s), and both counts go by its
  date. The events of an hour are thus found a little after the hour too, and the log is read with
  a margin on both sides.
- An hour can be judged only if all of it was settled.
- Retention may have removed events since they were settled. The oldest event is asked for *after*
  the reading: what is kept then was kept during the reading.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from poller.core.count_names import FILTERED
from poller.core.counts import TallyKey, tally
from poller.core.events import Stream
from poller.core.log_ids import LogId, floor_id, predecessor
from poller.core.pages import Page
from poller.core.ports import LogSource
from poller.core.spans import LogCursor, LogRange, clip, range_covering
from poller.service.upstream.retry import retrying
from poller.service.verify.daily import Day, Verdict

MARGIN = timedelta(minutes=10)
"""The part of the log that is read before and after the hours."""
HOUR = timedelta(hours=1)
HOURS_A_DAY = 24

HourAndType = tuple[datetime, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """An hour and a type of event with a different count in the ledger and in the log."""

    hour: datetime
    type: str
    settled: int
    logged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """The result for a range of hours. Each hour is in one of the first three fields."""

    judged: tuple[datetime, ...]
    not_kept: tuple[datetime, ...]
    """The hours of which retention removed a part."""
    not_settled: tuple[datetime, ...]
    """The hours of which the ledger does not hold the whole."""
    mismatches: tuple[Mismatch, ...]

    @property
    def agreeing(self) -> frozenset[datetime]:
        return frozenset(self.judged) - {mismatch.hour for mismatch in self.mismatches}


def ranges_to_read(
    settled: Sequence[LogRange], since: datetime, until: datetime
) -> tuple[LogRange, ...]:
    """Return the settled part of this time and of the margins."""
    return clip(settled, floor_id(since - MARGIN), floor_id(until + MARGIN))


def count_again(
    source: LogSource, stream: Stream, ranges: Sequence[LogRange], on_page: Callable[[Page], None]
) -> Counter[HourAndType]:
    """Read these ranges, and return the number of their events by hour and type.

    `on_page` is called after each page.

    Raises:
        TransientError, FatalError: the log cannot be read.
    """
    counted: Counter[HourAndType] = Counter()
    for each in ranges:
        for page in _pages(source, stream, each):
            counted.update(_key(tally(event, FILTERED, page.served_at)) for event in page.events)
            on_page(page)
    return counted


def compare(
    tallies: Mapping[TallyKey, int],
    counted: Mapping[HourAndType, int],
    settled: Sequence[LogRange],
    *,
    hours: Sequence[datetime],
    oldest: LogId | None,
) -> Recount:
    """Compare the hours that are settled and kept.

    `tallies` is the count of the ledger, `counted` that of the log, and `settled` a union of
    ranges. `oldest` is the oldest event in the log after the reading.
    """
    covered = [hour for hour in hours if range_covering(settled, hour, hour + HOUR)]
    judged = [hour for hour in covered if _is_kept(hour, settled, oldest)]
    return Recount(
        judged=tuple(judged),
        not_kept=tuple(hour for hour in covered if hour not in set(judged)),
        not_settled=tuple(hour for hour in hours if hour not in set(covered)),
        mismatches=_mismatches(tallies, counted, set(judged)),
    )


def _is_kept(hour: datetime, settled: Sequence[LogRange], oldest: LogId | None) -> bool:
    """Return whether the log still holds all events that were read for this hour."""
    read = clip(settled, floor_id(hour - MARGIN), floor_id(hour + HOUR))
    return oldest is not None and (predecessor(oldest) or oldest) <= read[0].after


def _mismatches(
    tallies: Mapping[TallyKey, int], counted: Mapping[HourAndType, int], hours: set[datetime]
) -> tuple[Mismatch, ...]:
    known: Counter[HourAndType] = Counter()
    for key, events in tallies.items():
        known[_key(key)] += events
    return tuple(
        Mismatch(
            hour=hour, type=kind, settled=known[hour, kind], logged=counted.get((hour, kind), 0)
        )
        for hour, kind in sorted(known.keys() | counted.keys())
        if hour in hours and known[hour, kind] != counted.get((hour, kind), 0)
    )


def overruled(day: Day, recount: Recount) -> Day:
    """Return the day with the verdict of its hours, which know more than the statistics."""
    if any(mismatch.hour.date() == day.day for mismatch in recount.mismatches):
        return replace(day, verdict=Verdict.DIFFERS)
    agreeing = sum(hour.date() == day.day for hour in recount.agreeing)
    if day.verdict is Verdict.DIFFERS and agreeing == HOURS_A_DAY:
        return replace(day, verdict=Verdict.AGREES)
    return day


def hours_between(since: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the whole hours from that of `since` to the last one that ends by `until`."""
    hour = since.replace(minute=0, second=0, microsecond=0)
    while hour + HOUR <= until:
        yield hour
        hour += HOUR


def _pages(source: LogSource, stream: Stream, within: LogRange) -> Iterator[Page]:
    # Nothing is settled, so no ledger knows this cursor, and any id will do.
    cursor = LogCursor(
        id=0, stream=stream, after=within.after, reached=within.after, until=within.until
    )
    while not cursor.is_done:
        for attempt in retrying():
            with attempt:
                page = source.fetch(cursor)
        yield page
        if page.is_end:
            return
        cursor = replace(cursor, reached=page.position)


def _key(key: TallyKey) -> HourAndType:
    return key.hour, key.type
