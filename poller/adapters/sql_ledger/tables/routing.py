"""The routes of a settings file as they were, and the changes that led to those of now.

The rows of a file are in the order of their ids. Each holds the routes from some time on, and what
the change before it left behind: see `core.translation.routing.RouteChange`. The first row stands
for the beginning, and has no such change.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from poller.adapters.sql_ledger.tables import schema
from poller.core.events import Stream
from poller.core.log_ids import EARLIEST, LogId
from poller.core.spans import LogRange, clip

Parts = Mapping[Stream, tuple[LogRange, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRoute:
    """A route: its stream, and the text of its condition, or None if it takes every event."""

    stream: Stream
    when: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingRow:
    """The routes from a change on.

    `file` is the name of the settings file.
    `after` is the highest position of a route at the change. It is None for the first routes before
    their start, and once every route has passed it. `former` are the streams of removed routes.
    """

    routes: tuple[RecordedRoute, ...]
    after: LogId | None = None
    unread: Parts = field(default_factory=dict)
    read_again: Parts = field(default_factory=dict)
    settled: Mapping[Stream, frozenset[LogId]] = field(default_factory=dict)
    former: tuple[Stream, ...] = ()
    file: str = ""
    id: int = 0

    @property
    def streams(self) -> tuple[Stream, ...]:
        return tuple(each.stream for each in self.routes)

    @property
    def begins(self) -> LogId | None:
        """The position at which the routes begin that are new in this row.

        A removed route may leave events to them that lie below `after`.
        """
        if self.after is None:
            return None
        left = (part.after for parts in self.unread.values() for part in parts)
        return min([self.after, *left])


def read_rows(
    connection: Connection, domain: str, file: str | None = None
) -> tuple[RoutingRow, ...]:
    """Return the rows of a settings file, or of all files of the tenant, the oldest first."""
    columns = schema.routing.c
    query = select(schema.routing).where(columns.domain == domain)
    if file is not None:
        query = query.where(columns.file == file)
    return tuple(
        RoutingRow(
            id=row.id,
            file=row.file,
            after=row.after,
            routes=_routes(domain, row.routes),
            unread=_parts(domain, row.unread),
            read_again=_parts(domain, row.read_again),
            settled={
                _stream(domain, names): frozenset(map(LogId, ids))
                for *names, ids in json.loads(row.settled)
            },
            former=_former(domain, row.former),
        )
        for row in connection.execute(query.order_by(columns.id))
    )


def rows_by_file(connection: Connection, domain: str) -> dict[str, tuple[RoutingRow, ...]]:
    """Return the rows of each settings file of the tenant, the oldest first."""
    files: dict[str, tuple[RoutingRow, ...]] = {}
    for row in read_rows(connection, domain):
        files[row.file] = (*files.get(row.file, ()), row)
    return files


def as_texts(row: RoutingRow) -> tuple[str, str, str]:
    """Return a row that holds no change as texts: its file, its routes, and the former ones."""
    values = _values(row)
    return row.file, str(values["routes"]), str(values["former"])


def from_texts(domain: str, texts: Any) -> RoutingRow:
    """Return the row of which `as_texts` made these texts.

    Raises:
        ValueError, TypeError: these are no such texts.
    """
    file, routes, former = texts
    return RoutingRow(
        file=str(file), routes=_routes(domain, routes), former=_former(domain, former)
    )


def read_former(connection: Connection, domain: str) -> frozenset[Stream]:
    """Return the streams of routes that were removed."""
    return frozenset(each for row in read_rows(connection, domain) for each in row.former)


def rename_route(connection: Connection, old: Stream, new: Stream) -> None:
    """Give a route the names of a stream, whose write key was changed."""

    def renamed(each: Stream) -> Stream:
        return new if each == old else each

    for row in read_rows(connection, old.domain):
        changed = replace(
            row,
            routes=tuple(replace(each, stream=renamed(each.stream)) for each in row.routes),
            unread={renamed(each): parts for each, parts in row.unread.items()},
            read_again={renamed(each): parts for each, parts in row.read_again.items()},
            settled={renamed(each): ids for each, ids in row.settled.items()},
            former=tuple(map(renamed, row.former)),
        )
        if changed != row:
            change_row(connection, changed)


def read_anew(connection: Connection, stream: Stream, above: LogId) -> None:
    """Let a route take its own events above a position that it has taken before."""
    for row in read_rows(connection, stream.domain):
        if parts := row.read_again.get(stream):
            own = clip(parts, EARLIEST, above)
            change_row(connection, replace(row, read_again={**row.read_again, stream: own}))


def add_row(connection: Connection, domain: str, file: str, row: RoutingRow) -> None:
    """Record the routes from now on."""
    values = {"domain": domain, "file": file, **_values(row)}
    connection.execute(insert(schema.routing).values(values))


def rename_file(connection: Connection, rows: Iterable[RoutingRow], file: str) -> None:
    """Give the rows to a settings file of this name."""
    own = schema.routing.c.id.in_([each.id for each in rows])
    connection.execute(update(schema.routing).where(own).values(file=file))


def change_row(connection: Connection, row: RoutingRow) -> None:
    """Write a row anew."""
    connection.execute(
        update(schema.routing).where(schema.routing.c.id == row.id).values(_values(row))
    )


def delete_rows(connection: Connection, rows: Iterable[RoutingRow]) -> None:
    """Delete the rows."""
    ids = [each.id for each in rows]
    connection.execute(delete(schema.routing).where(schema.routing.c.id.in_(ids)))


def _values(row: RoutingRow) -> dict[str, object]:
    routes = [[*_names(each.stream), each.when] for each in row.routes]
    return {
        "after": row.after,
        "routes": json.dumps(routes),
        "unread": _text(row.unread),
        "read_again": _text(row.read_again),
        "settled": json.dumps([[*_names(each), sorted(ids)] for each, ids in row.settled.items()]),
        "former": json.dumps([_names(each) for each in row.former]),
    }


def _routes(domain: str, written: str) -> tuple[RecordedRoute, ...]:
    return tuple(
        RecordedRoute(stream=_stream(domain, names), when=when)
        for *names, when in json.loads(written)
    )


def _former(domain: str, written: str) -> tuple[Stream, ...]:
    return tuple(_stream(domain, names) for names in json.loads(written))


def _names(stream: Stream) -> list[str]:
    return [stream.source_name, stream.generation]


def _stream(domain: str, names: Iterable[str]) -> Stream:
    source_name, generation = names
    return Stream(domain=domain, source_name=source_name, generation=generation)


def _text(parts: Parts) -> str:
    return json.dumps(
        [
            [*_names(stream), [[each.after, each.until] for each in ranges]]
            for stream, ranges in parts.items()
        ]
    )


def _parts(domain: str, written: str) -> Parts:
    return {
        _stream(domain, names): tuple(
            LogRange(after=LogId(after), until=LogId(until)) for after, until in ranges
        )
        for *names, ranges in json.loads(written)
    }
