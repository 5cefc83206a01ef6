"""The settings files that the recorded routes belong to. A file may get the name of another one."""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.route_places import last_passed, places_of
from poller.adapters.sql_ledger.tables.routing import (
    RecordedRoute,
    RoutingRow,
    rename_file,
    rows_by_file,
)
from poller.adapters.sql_ledger.tables.streams import label
from poller.core.errors import FatalError, NotYetError
from poller.core.events import Stream

Rows = tuple[RoutingRow, ...]
Others = Mapping[str, Collection[Stream] | None]
"""The streams that other files name now. None stands for a file that is gone."""


def other_files(database: Database, file: str, routes: Sequence[RecordedRoute]) -> tuple[str, ...]:
    """Return the other files of the tenant to which one of these routes belongs by the ledger."""
    with database.reading() as connection:
        files = rows_by_file(connection, routes[0].stream.domain)
    streams = {each.stream for each in routes}
    return tuple(each for each in files if each != file and _has_any(files[each], streams))


def lost_routes(
    database: Database, file: str, routes: Sequence[RecordedRoute]
) -> frozenset[Stream]:
    """Return the streams that a file had by the ledger, if it names none of them any more."""
    with database.reading() as connection:
        own = rows_by_file(connection, routes[0].stream.domain).get(file, ())
    if not own or _has_any(own, {each.stream for each in routes}):
        return frozenset()
    return frozenset(own[-1].streams)


def take_name(
    connection: Connection, file: str, routes: Sequence[RecordedRoute], others: Others
) -> str | None:
    """Give the routes of a file that was renamed to its new name. Return the old name, or None.

    The other file has let go of all its routes, and this one has none that it had before. The
    routes that stand under this name are put aside, and the file that names them now finds them.

    Raises:
        NotYetError: a route moves here from another file, which has not begun without it yet.
    """
    files = rows_by_file(connection, routes[0].stream.domain)
    streams, own = {each.stream for each in routes}, files.pop(file, ())
    giving = {
        other: named
        for other, named in others.items()
        if other in files and _has_any(files[other], streams - {*(named or ())})
    }
    is_itself = _has_any(own, streams)
    old = None if is_itself else _renamed(files, giving)
    if any(named is not None for other, named in giving.items() if other != old):
        raise NotYetError("a route moves here from a file that has not begun without it yet")
    if own and not is_itself and (old is not None or _is_taken(own, files, others)):
        rename_file(connection, own, f".{file}.{own[0].id}")  # no file of pipelines has this name
    if old is not None:
        rename_file(connection, files[old], file)
    return old


def _renamed(files: Mapping[str, Rows], giving: Others) -> str | None:
    """Return the file that has let go of all its routes."""
    return next(
        (each for each, named in giving.items() if not _has_any(files[each], named or ())), None
    )


def _is_taken(own: Rows, files: Mapping[str, Rows], others: Others) -> bool:
    """Return whether a file takes these routes that has none which it had before."""
    return any(
        named is not None and _has_any(own, named) and not _has_any(files.get(each, ()), named)
        for each, named in others.items()
    )


def _has_any(rows: Rows, streams: Collection[Stream]) -> bool:
    return bool(rows) and not {*streams}.isdisjoint(rows[-1].streams)


def settled_routes(connection: Connection, stream: Stream) -> list[RoutingRow]:
    """Return the routes of each file to which a stream belongs.

    Raises:
        FatalError: a route of the file has still to pass a change of them.
    """
    concerned = {
        file: rows
        for file, rows in rows_by_file(connection, stream.domain).items()
        if any(stream in row.streams for row in rows)
    }
    for file, rows in concerned.items():
        if _is_pending(connection, rows):
            raise FatalError(
                f"the routes of the settings file {file} were changed at {rows[-1].after}, and not "
                f"all of them have passed this position. {label(stream)} is concerned",
                code="routes-changing",
                hint="let the daemon run until each route has been past this position for longer "
                "than poll.late_window: `status` shows the positions. Then stop it and try again",
            )
    return [rows[-1] for rows in concerned.values()]


def _is_pending(connection: Connection, rows: Sequence[RoutingRow]) -> bool:
    if len(places_of(connection, rows[-1].streams)) < len(rows[-1].streams):
        return rows[-1].after is not None  # a route has still to begin there
    return len(rows) > 1 and last_passed(connection, rows) != len(rows) - 1
