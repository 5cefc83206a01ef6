"""The settled log read once more, and counted against what the ledger counted; sends and stores nothing."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from poller.core.events import Stream
from poller.core.log_ids import LogId, floor_id, predecessor
from poller.core.pages import Page
from poller.core.ports import LogSource
from poller.core.settlement import FILTERED, Tally, tally
from poller.core.spans import LogCursor, LogRange, clip, range_covering
from poller.service.upstream.retry import retrying
from poller.service.verify.daily import Day, Verdict

MARGIN = timedelta(minutes=10)
"""An event is logged some seconds after its date (recorded: at most 6), so an hour is read from so long before it to so
long after, and every event goes to the hour of its date, as the ledger counted it."""
HOUR = timedelta(hours=1)
HOURS_A_DAY = 24

Count = tuple[datetime, str]
"""An hour and a type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A type of event of which the ledger settled another number in an hour than the log has."""

    hour: datetime
    type: str
    settled: int
    logged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recount:
    """The hours that were judged, those that the log no longer holds, those not settled whole, and what differs."""

    judged: tuple[datetime, ...]
    not_kept: tuple[datetime, ...]
    not_settled: tuple[datetime, ...]
    mismatches: tuple[Mismatch, ...]

    @property
    def agreeing(self) -> frozenset[datetime]:
        return frozenset(self.judged) - {mismatch.hour for mismatch in self.mismatches}


def stretches_to_read(
    settled: Sequence[LogRange], since: datetime, until: datetime
) -> tuple[LogRange, ...]:
    """What is settled of the range and of a margin on both sides."""
    return clip(settled, floor_id(since - MARGIN), floor_id(until + MARGIN))


def read(
    source: LogSource, stream: Stream, stretches: Sequence[LogRange], tell: Callable[[Page], None]
) -> Counter[Count]:
    """The events of these stretches by hour and type, a page at a time; `tell` is told of each page.

    Raises:
        TransientError, FatalError: the log cannot be read.
    """
    counted: Counter[Count] = Counter()
    for stretch in stretches:
        for page in _pages(source, stream, stretch):
            counted.update(_key(tally(event, FILTERED, page.served_at)) for event in page.events)
            tell(page)
    return counted


def compare(
    tallies: Mapping[Tally, int],
    counted: Mapping[Count, int],
    settled: Sequence[LogRange],
    *,
    hours: Sequence[datetime],
    oldest: LogId | None,
) -> Recount:
    """Judges those of the hours that are settled whole, and whose log was kept until it was read.

    `settled` is merged. `oldest` is the oldest event that the log held after the reading.
    """
    known: Counter[Count] = Counter()
    for key, events in tallies.items():
        known[_key(key)] += events
    judged, not_kept, not_settled = [], [], []
    for hour in hours:
        stretch = range_covering(settled, hour, hour + HOUR)
        if stretch is None:
            not_settled.append(hour)
        elif not _is_kept(
            clip(settled, floor_id(hour - MARGIN), floor_id(hour + HOUR))[0].after, oldest
        ):
            not_kept.append(hour)
        else:
            judged.append(hour)
    of_interest = set(judged)
    differing = sorted(
        key
        for key in known.keys() | counted.keys()
        if key[0] in of_interest and known[key] != counted.get(key, 0)
    )
    return Recount(
        judged=tuple(judged),
        not_kept=tuple(not_kept),
        not_settled=tuple(not_settled),
        mismatches=tuple(
            Mismatch(hour=key[0], type=key[1], settled=known[key], logged=counted.get(key, 0))
            for key in differing
        ),
    )


def weighed(day: Day, recount: Recount) -> Day:
    """The day with what its hours say, which is more than statistics can."""
    if any(mismatch.hour.date() == day.day for mismatch in recount.mismatches):
        return replace(day, verdict=Verdict.DIFFERS)
    agreeing = sum(hour.date() == day.day for hour in recount.agreeing)
    is_proved = day.verdict is Verdict.DIFFERS and agreeing == HOURS_A_DAY
    return replace(day, verdict=Verdict.AGREES) if is_proved else day


def hours_between(since: datetime, until: datetime) -> Iterator[datetime]:
    """The whole hours from that of `since` to the last that ends by `until`."""
    hour = since.replace(minute=0, second=0, microsecond=0)
    while hour + HOUR <= until:
        yield hour
        hour += HOUR


def _pages(source: LogSource, stream: Stream, stretch: LogRange) -> Iterator[Page]:
    # The stretch is read and not settled, so that no ledger knows the cursor.
    cursor = LogCursor(
        id=0, stream=stream, after=stretch.after, reached=stretch.after, until=stretch.until
    )
    while not cursor.is_done:
        for attempt in retrying():
            with attempt:
                page = source.fetch(cursor)
        yield page
        if page.is_end:
            return
        cursor = replace(cursor, reached=page.position)


def _is_kept(position: LogId, oldest: LogId | None) -> bool:
    """Whether all above the position is there."""
    return oldest is not None and (predecessor(oldest) or oldest) <= position


def _key(of: Tally) -> Count:
    return of.hour, of.type
