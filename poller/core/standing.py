"""The standing of one event of the log, by the spans and all else that the ledger records."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from poller.core.log_ids import LogId
from poller.core.spans import Gap, Inherited, LogCursor, Redelivery, Span, UnreadStretch

Place = Literal[
    "settled",
    "ahead",
    "backlog",
    "unfinished_backfill",
    "second_reading",
    "gap",
    "reopened_gap",
    "redelivery",
    "no_span",
]
"""The place of an event.

- `settled`: a span has settled it.
- `ahead`: the daemon has not read it yet.
- `backlog`, `unfinished_backfill`: it lies in the unread part of a slice of the catch-up or of a
  backfill. An inherited part is a backlog too.
- `second_reading`: it came late, and the second reading will find it.
- `gap`: retention had removed it when it was asked for.
- `reopened_gap`, `redelivery`: it lies in a stretch that a backfill is to read again.
- `no_span`: nobody was to send it.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The place of an event, and the stretch of the log that gives it this place.

    The stretch of `settled` is the span. The stretch of `no_span` is unknown. `until` is None for
    the live span.
    """

    place: Place
    after: LogId | None = None
    until: LogId | None = None


def standing_of(
    log_id: LogId,
    *,
    spans: Iterable[Span],
    gaps: Iterable[Gap] = (),
    revisits: Iterable[LogCursor] = (),
    unread: Iterable[UnreadStretch] = (),
    is_recent: bool | None = None,
) -> Standing:
    """Return where the event with this id stands.

    `is_recent` says whether the id is among the recent ids. It is None for an event whose id the
    ledger does not remember, because no settings usually send its type.
    """
    span = next((each for each in spans if _holds(each.after, log_id, each.until)), None)
    found = [
        *_of_revisits(log_id, revisits),
        *_of_late_arrivals(log_id, span, unread, is_recent=is_recent),
        *_of_gaps(log_id, gaps),
    ]
    return found[0] if found else _of_span(log_id, span)


def _of_revisits(log_id: LogId, revisits: Iterable[LogCursor]) -> Iterator[Standing]:
    for each in revisits:
        if _holds(each.reached, log_id, each.until):
            yield Standing(place=_place_of(each), after=each.reached, until=each.until)


def _place_of(revisit: LogCursor) -> Place:
    match revisit:
        case Redelivery():
            return "redelivery"
        case Inherited():
            return "backlog"
    return "reopened_gap"


def _of_late_arrivals(
    log_id: LogId,
    span: Span | None,
    unread: Iterable[UnreadStretch],
    *,
    is_recent: bool | None,
) -> Iterator[Standing]:
    """Yield the stretch that a second reading still has to pass, if the event came late to it.

    Every event there that was settled is among the recent ids.
    """
    if is_recent is not False:
        return
    for each in unread:
        if _holds(each.reached, log_id, each.until):
            yield Standing(place="second_reading", after=each.reached, until=each.until)
    if span and _holds(max(span.confirmed, span.after), log_id, span.reached):
        begin = max(span.confirmed, span.after)
        yield Standing(place="second_reading", after=begin, until=span.reached)


def _of_gaps(log_id: LogId, gaps: Iterable[Gap]) -> Iterator[Standing]:
    """Yield the gap. A gap that was read once held settled events, so it is left out."""
    for each in gaps:
        if not each.is_read_once and each.after < log_id < each.before:
            yield Standing(place="gap", after=each.after, until=each.before)


def _of_span(log_id: LogId, span: Span | None) -> Standing:
    if span is None:
        return Standing(place="no_span")
    place: Place = "settled"
    if log_id > span.reached:
        unfinished: Place = "backlog" if span.is_catch_up else "unfinished_backfill"
        place = "ahead" if span.is_live else unfinished
    return Standing(place=place, after=span.after, until=span.until)


def _holds(after: LogId, log_id: LogId, until: LogId | None) -> bool:
    return after < log_id and (until is None or log_id <= until)
