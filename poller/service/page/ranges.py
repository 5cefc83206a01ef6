"""The ledger on a line of time: who settled which part of the log, and what is missing."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.spans import Gap, LogCursor, LogRange, Span
from poller.core.text.dates import iso
from poller.service.watching.feed import worker_of


def ranges_of(
    cursors: Sequence[LogCursor],
    gaps: Iterable[Gap],
    holes: Iterable[LogRange],
    since: datetime | None,
    now: datetime,
) -> list[dict[str, Any]]:
    """Return the ranges from `since` to `now`, each with its kind, in the order of drawing.

    The kinds are `live`, `catch_up` and `backfill` for what is settled, by the span that holds it,
    `ahead` and `unfinished` for what is still to be read, `gap` for what retention removed, and
    `hole` for what lies in no span. A range without a time at one end reaches to that end.
    """
    begin = since or now
    pieces = [
        *(("hole", each.after, each.until) for each in holes),
        *(piece for cursor in cursors for piece in _pieces(cursor)),
        *(("gap", gap.after, gap.before) for gap in gaps),
    ]
    found = ((kind, *_times(after, until, begin, now)) for kind, after, until in pieces)
    return [
        {"kind": kind, "begin": iso(first), "end": iso(last)}
        for kind, first, last in found
        if first < last
    ]


def slices_of(cursors: Iterable[LogCursor]) -> list[dict[str, Any]]:
    """Return the unfinished slices of backfills and of a catch-up, with the part that is done."""
    return [
        {
            "kind": worker_of(cursor),
            "begin": _time(cursor.after),
            "reached": _time(cursor.reached),
            "end": _time(cursor.until),
            "part_done": round(_part_done(cursor, cursor.until), 3),
        }
        for cursor in cursors
        if cursor.until is not None and not cursor.is_done
    ]


def _pieces(cursor: LogCursor) -> Iterator[tuple[str, LogId, LogId | None]]:
    if not isinstance(cursor, Span):
        yield "unfinished", cursor.reached, cursor.until
        return
    settled_to = cursor.reached
    if cursor.is_live and cursor.drained_at is not None:
        settled_to = max(settled_to, floor_id(cursor.drained_at))
    yield worker_of(cursor), cursor.after, settled_to
    yield ("ahead" if cursor.is_live else "unfinished"), settled_to, cursor.until


def _times(
    after: LogId, until: LogId | None, begin: datetime, now: datetime
) -> tuple[datetime, datetime]:
    first = moment_of(after) or begin
    last = (moment_of(until) if until is not None else None) or now
    return max(first, begin), min(last, now)


def _part_done(cursor: LogCursor, until: LogId) -> float:
    whole = LogRange(after=cursor.after, until=until).length
    left = LogRange(after=cursor.reached, until=until).length
    return 1 - left / whole if whole else 0.0


def _time(log_id: LogId | None) -> str | None:
    moment = moment_of(log_id) if log_id is not None else None
    return iso(moment) if moment else None
