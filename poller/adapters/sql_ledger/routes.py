"""The routes of a settings file: where new ones begin, and what a change leaves to whom.

Each route reads the log by itself, so at a change the routes stand at different positions. The
ledger keeps the routes and their changes, and each route is told of them, so that an event between
two positions is sent by exactly one route. `core.translation.routing` says by which.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.route_files import Others, take_name
from poller.adapters.sql_ledger.route_places import (
    Place,
    last_passed,
    leave_all,
    places_of,
    take_over,
)
from poller.adapters.sql_ledger.tables.recent_ids import read_all
from poller.adapters.sql_ledger.tables.routing import (
    RecordedRoute,
    RoutingRow,
    add_row,
    change_row,
    delete_rows,
    read_rows,
)
from poller.adapters.sql_ledger.tables.spans import begin_span, read_spans, refuse_overlap
from poller.adapters.sql_ledger.tables.streams import (
    enroll,
    note_beginning,
)
from poller.adapters.sql_ledger.tables.stretches import (
    begin_revisits,
)
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import EARLIEST, LogId
from poller.core.spans import (
    Inherited,
    LogRange,
    Span,
    clip,
    difference,
    is_in,
    union,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The result of `keep_routes`.

    `changed` is the row of a change that was noticed now. `begun` says where new routes begin.
    `renamed` is the former name of the file, if it has another one now.
    """

    changed: RoutingRow | None = None
    begun: Mapping[Stream, LogId] = field(default_factory=dict)
    renamed: str | None = None


def read_routing(database: Database, domain: str, file: str) -> tuple[RoutingRow, ...]:
    """Return the routes of a settings file and their changes, the oldest first."""
    with database.reading() as connection:
        return read_rows(connection, domain, file)


def keep_routes(
    database: Database,
    file: str,
    routes: Sequence[RecordedRoute],
    now: datetime,
    first: LogId | None = None,
    neighbours: Collection[Stream] = (),
    others: Others | None = None,
) -> Kept:
    """Notice a change of the routes of a file, and begin the new ones. `routes` are in their order.

    Call it before a route reads a page. After a change, no page that was read by the old routes can
    be settled.

    Where no route has begun, all begin at `first`, and without `first` not yet. The daemon gives
    the `first` that it chose for the first of the routes, before that one reads a page. A route
    that begins later by itself would miss what the others have passed over.

    A file without routes is one route that takes every event, and is recorded if it had some. A
    route that the ledger refuses beside the `neighbours` is left out: its own start says why.

    `others` says what each of the `other_files` names now, as far as it is known.

    Raises:
        NotYetError: a route moves here from another file, which has not begun without it yet.
    """
    domain, is_plain = routes[0].stream.domain, [each.when for each in routes] == [None]
    if is_plain and not others and not read_routing(database, domain, file):
        return Kept()
    with database.writing() as connection:
        renamed = take_name(connection, file, routes, others or {})
        if is_plain and not read_rows(connection, domain, file):
            return Kept()
        changed = _notice(connection, file, routes)
        rows = read_rows(connection, domain, file)
        if first is not None and not places_of(connection, rows[-1].streams):
            change_row(connection, replace(rows[0], after=first))
            rows = read_rows(connection, domain, file)
        begun = _begin_new(connection, rows, neighbours, now)
        return Kept(changed=changed, begun=begun, renamed=renamed)


def _notice(
    connection: Connection, file: str, routes: Sequence[RecordedRoute]
) -> RoutingRow | None:
    """Record a change of the routes, and return it, or None if they are the same as before."""
    domain = routes[0].stream.domain
    rows = _forget_passed(connection, read_rows(connection, domain, file))
    if not rows:
        add_row(connection, domain, file, _first_row(connection, routes))
        rows = read_rows(connection, domain, file)
    if rows[-1].routes == tuple(routes):
        return None
    changed = _change(connection, rows, routes)
    if changed.after is None:  # the old routes have never run
        delete_rows(connection, rows)
    add_row(connection, domain, file, changed)
    return changed


def _first_row(connection: Connection, routes: Sequence[RecordedRoute]) -> RoutingRow:
    """Return the routes of a file of which nothing is recorded: those that have begun.

    One that has begun alone was that of a file without routes, and took every event.
    """
    places = places_of(connection, (each.stream for each in routes))
    begun = tuple(each for each in routes if each.stream in places)
    if len(begun) == 1:
        begun = (replace(begun[0], when=None),)
    return RoutingRow(routes=begun or tuple(routes))


def _forget_passed(connection: Connection, rows: tuple[RoutingRow, ...]) -> tuple[RoutingRow, ...]:
    """Forget the changes that every route has passed for good."""
    passed = last_passed(connection, rows) if rows else None
    if passed is None:
        return rows
    last = replace(rows[passed], after=None, unread={}, settled={}, read_again={})
    delete_rows(connection, rows[:passed])
    change_row(connection, last)
    return (last, *rows[passed + 1 :])


def _change(
    connection: Connection, rows: Sequence[RoutingRow], routes: Sequence[RecordedRoute]
) -> RoutingRow:
    """Record what the old routes leave to the new ones, and take the work from all of them."""
    old, new = rows[-1], [each.stream for each in routes]
    places = places_of(connection, dict.fromkeys((*old.streams, *new)))
    removed = [each for each in old.streams if each not in new]
    former = [each for each in dict.fromkeys((*old.former, *removed)) if each not in new]
    row = RoutingRow(routes=tuple(routes), former=tuple(former))
    if not places:
        return row
    until = max([*(each.live.reached for each in places.values()), old.after or EARLIEST])
    row = replace(
        row,
        after=until,
        unread={each: _left(rows, each, places.get(each), until) for each in removed},
        settled={each: _settled(connection, places[each]) for each in removed if each in places},
    )
    row = replace(
        row,
        read_again={
            each: _inherit(connection, places[each], row, is_back=each not in old.streams)
            for each in new
            if each in places
        },
    )
    for place in places.values():
        take_over(connection, place.stream_id)
    return row


def _settled(connection: Connection, place: Place) -> frozenset[LogId]:
    """Return the ids of events that a removed route settled where it leaves events.

    It had not read what is behind. An id there is that of an event that it declined earlier.
    """
    ids = read_all(connection, place.stream_id)
    return frozenset(each for each in ids if not is_in(place.behind, each))


def _inherit(
    connection: Connection, place: Place, row: RoutingRow, *, is_back: bool
) -> tuple[LogRange, ...]:
    """Let a route read again what it has passed and a removed one has not. Return these parts.

    A route that comes back (`is_back`) has left what it had still ahead to others, and begins anew.
    """
    stream_id, behind = place.stream_id, place.behind
    if is_back:
        behind = ()
        leave_all(connection, place)
        at = max(row.begins or EARLIEST, place.live.reached)
        begin_span(connection, stream_id, Span.unsettled(place.stream, after=at, until=None))
    left = union(part for parts in row.unread.values() for part in parts)
    parts = difference(clip(left, EARLIEST, place.live.reached), behind)
    stretches = [(each.after, each.until) for each in parts]
    begin_revisits(connection, place.stream, stream_id, Inherited, stretches)
    return parts


def _left(
    rows: Sequence[RoutingRow], stream: Stream, place: Place | None, until: LogId
) -> tuple[LogRange, ...]:
    """Return what a removed route has not settled."""
    if place is not None:
        return place.left(until)
    begins = _begins(rows, stream)
    return union([LogRange(after=begins, until=until)]) if begins else ()


def _begins(rows: Sequence[RoutingRow], stream: Stream) -> LogId | None:
    """Return where a route begins: at the change that brought it, if it is known."""
    begins = None
    for row in reversed(rows):
        if stream not in row.streams:
            break
        begins = row.begins
    return begins


def _begin_new(
    connection: Connection,
    rows: Sequence[RoutingRow],
    neighbours: Collection[Stream],
    now: datetime,
) -> dict[Stream, LogId]:
    """Begin the routes that have not begun, and return where."""
    begun: dict[Stream, LogId] = {}
    streams = rows[-1].streams
    places, known = places_of(connection, streams), {*streams, *neighbours}
    for stream in streams:
        after = _begins(rows, stream)
        if after is not None and stream not in places:
            with suppress(FatalError):
                begun |= _begin(connection, stream, known - {stream}, after, now)
    return begun


def _begin(
    connection: Connection,
    stream: Stream,
    neighbours: Collection[Stream],
    after: LogId,
    now: datetime,
) -> dict[Stream, LogId]:
    """Begin the live span of a stream. What a backfill has begun stays the backfill's.

    A stream that was begun under a mistyped key, and takes another name now, has begun already.

    Raises:
        FatalError: the ledger holds a stream of no route, and this one is new.
    """
    own, stream_id = enroll(connection, stream, neighbours, create=True, adopt=False, now=now)
    spans = read_spans(connection, own, stream_id)
    if any(each.is_live for each in spans):
        return {}
    after = max([after, *(each.until for each in spans if each.until is not None)])
    refuse_overlap(spans, after, None)
    note_beginning(connection, stream_id, after)
    # Nobody works on the span yet, so its fence is below that of each owner.
    begin_span(connection, stream_id, Span.unsettled(own, after=after, until=None))
    return {stream: after}
