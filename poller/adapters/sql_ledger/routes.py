"""The beginning of new routes: each begins where the routes stand that took its events so far."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from datetime import datetime

from sqlalchemy import Connection

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.tables.spans import begin_span, read_spans, refuse_overlap
from poller.adapters.sql_ledger.tables.streams import (
    enroll,
    note_beginning,
    read_streams,
    recorded,
)
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import LogId
from poller.core.spans import Span, unfinished_catch_up


def begin_routes(
    database: Database, routes: Sequence[Stream], now: datetime, first: LogId | None = None
) -> dict[Stream, LogId]:
    """Begin the live spans of new routes, and return where. `routes` are in their order.

    A new route takes events from the routes below it. They pass over these events from now on, from
    their own positions on. So the new route begins at the lowest of these positions, and no event
    falls between.

    Where no route below has begun, it begins at `first`, and without `first` not yet. The daemon
    gives the `first` that it chose for the first of the routes, before that one reads a page. A
    route that begins later by itself would miss what the others have passed over.

    A route that may not begin in this ledger is left out: its own start says why.
    """
    begun: dict[Stream, LogId] = {}
    with database.writing() as connection:
        for number in reversed(range(len(routes))):
            below = [_unsettled_from(connection, each) for each in routes[number + 1 :]]
            positions = [each for each in below if each is not None] or [
                each for each in (first,) if each is not None
            ]
            if positions and _unsettled_from(connection, routes[number]) is None:
                with suppress(FatalError):
                    new, others = routes[number], {*routes} - {routes[number]}
                    begun[new] = _begin(connection, new, others, min(positions), now)
    return begun


def _unsettled_from(connection: Connection, stream: Stream) -> LogId | None:
    """Return the position above which the daemon still has events, or None before its start."""
    streams = read_streams(connection)
    own = recorded(streams, stream)
    if own is None:
        return None
    spans = read_spans(connection, own, streams[own])
    live = [each for each in spans if each.is_live]
    if not live:
        return None
    return min(each.reached for each in (*live, *unfinished_catch_up(spans)))


def _begin(
    connection: Connection,
    stream: Stream,
    neighbours: Collection[Stream],
    after: LogId,
    now: datetime,
) -> LogId:
    """Begin the live span of a stream. What a backfill has begun stays the backfill's.

    Raises:
        FatalError: the ledger holds a stream of no route, and this one is new.
    """
    own, stream_id = enroll(connection, stream, neighbours, create=True, adopt=False, now=now)
    spans = read_spans(connection, own, stream_id)
    after = max([after, *(each.until for each in spans if each.until is not None)])
    refuse_overlap(spans, after, None)
    note_beginning(connection, stream_id, after)
    # Nobody works on the span yet, so its fence is below that of each owner.
    begin_span(connection, stream_id, Span.unsettled(own, after=after, until=None))
    return after
