"""The settings files that the recorded routes belong to."""

from collections.abc import Sequence

from sqlalchemy import Connection

from poller.adapters.sql_ledger.route_places import last_passed, places_of
from poller.adapters.sql_ledger.tables.routing import RoutingRow, read_rows
from poller.adapters.sql_ledger.tables.streams import label
from poller.core.errors import FatalError
from poller.core.events import Stream


def settled_routes(connection: Connection, stream: Stream) -> list[RoutingRow]:
    """Return the routes of each file to which a stream belongs.

    Raises:
        FatalError: a route of the file has still to pass a change of them.
    """
    files: dict[str, list[RoutingRow]] = {}
    for row in read_rows(connection, stream.domain):
        files.setdefault(row.file, []).append(row)
    concerned = {
        file: rows for file, rows in files.items() if any(stream in row.streams for row in rows)
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
