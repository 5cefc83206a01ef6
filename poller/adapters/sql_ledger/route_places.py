"""The positions of the routes of a settings file, and how their work is taken from them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, or_, true, update

from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.fences import draw_fence
from poller.adapters.sql_ledger.tables.routing import RoutingRow
from poller.adapters.sql_ledger.tables.spans import end_span, read_spans
from poller.adapters.sql_ledger.tables.streams import read_streams, recorded
from poller.adapters.sql_ledger.tables.stretches import read_revisits, read_unread
from poller.core.events import Stream
from poller.core.log_ids import EARLIEST, LogId
from poller.core.spans import (
    Inherited,
    LogRange,
    Redelivery,
    Span,
    clip,
    unfinished_catch_up,
    union,
)

_UNSETTLED = ("inherited", "redelivery")
"""The kinds of revisits whose events are not settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The position of a route, and what it has still to do.

    `behind` is what it has still to settle below the live span. In `doubtful` it still looks for
    late arrivals. Up to `confirmed` it has nothing left to do.
    """

    stream: Stream
    stream_id: int
    live: Span
    behind: tuple[LogRange, ...]
    doubtful: tuple[LogRange, ...]
    confirmed: LogId

    def left(self, until: LogId) -> tuple[LogRange, ...]:
        """Return the parts up to this position in which the route leaves events, if it ends."""
        ahead = LogRange(after=self.live.confirmed, until=until)
        return clip(union([*self.behind, *self.doubtful, ahead]), EARLIEST, until)


def places_of(connection: Connection, streams: Iterable[Stream]) -> dict[Stream, Place]:
    """Return where the routes stand that have begun."""
    known, found = read_streams(connection), {}
    for stream in streams:
        own = recorded(known, stream)
        if own is None:
            continue
        spans = read_spans(connection, own, known[own])
        live = next((each for each in spans if each.is_live), None)
        if live is not None:
            found[stream] = _place(connection, own, known[own], spans, live)
    return found


def _place(
    connection: Connection, stream: Stream, stream_id: int, spans: Sequence[Span], live: Span
) -> Place:
    revisits = read_revisits(connection, stream, stream_id)
    unsettled = [each for each in revisits if isinstance(each, Inherited | Redelivery)]
    slices = unfinished_catch_up(spans)
    behind = [
        LogRange(after=each.reached, until=each.until or each.reached)
        for each in (*slices, *unsettled)
    ]
    unread = read_unread(connection, stream, stream_id)
    doubtful = [LogRange(after=each.reached, until=each.until or each.reached) for each in unread]
    doubtful += [LogRange(after=each.confirmed, until=each.reached) for each in slices]
    low = [each.after for each in (*behind, *doubtful)] + [each.reached for each in revisits]
    return Place(
        stream=stream,
        stream_id=stream_id,
        live=live,
        behind=union(behind),
        doubtful=union(doubtful),
        confirmed=min([live.confirmed, *low]),
    )


def take_over(connection: Connection, stream_id: int) -> None:
    """Let no page be settled that was read before. An owner that opens the ledger goes on."""
    fence = draw_fence(connection, stream_id)
    span, revisit, unread = schema.span, schema.revisit, schema.unread_stretch
    of_daemon = or_(span.c.until.is_(None), span.c.is_catch_up)
    for table, own in (
        (span, of_daemon),
        (revisit, revisit.c.kind.in_(_UNSETTLED)),
        (unread, true()),
    ):
        row = update(table).where(table.c.stream_id == stream_id, own)
        connection.execute(row.values(fence=fence))


def leave_all(connection: Connection, place: Place) -> None:
    """End all work of a route at its position, because others have it now."""
    spans = read_spans(connection, place.stream, place.stream_id)
    for each in (*unfinished_catch_up(spans), place.live):
        end_span(connection, place.stream_id, each, each.reached)
    unread, revisit = schema.unread_stretch, schema.revisit
    connection.execute(delete(unread).where(unread.c.stream_id == place.stream_id))
    unsettled = (revisit.c.stream_id == place.stream_id, revisit.c.kind.in_(_UNSETTLED))
    connection.execute(delete(revisit).where(*unsettled))


def last_passed(connection: Connection, rows: Sequence[RoutingRow]) -> int | None:
    """Return the number of the last change that every route has passed for good."""
    places = places_of(connection, rows[-1].streams)
    if len(places) < len(rows[-1].streams):
        return None
    lowest = min(each.confirmed for each in places.values())
    passed = (number for number, each in enumerate(rows) if each.after and each.after <= lowest)
    return max(passed, default=None)
