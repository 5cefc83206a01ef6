"""Unread stretches: what a second reading still has to pass, outside of any span.

Such a stretch stays behind where a span ends before everything in it was confirmed. Unread
stretches never overlap, and a row is gone when its end is reached.
"""

from dataclasses import replace

from sqlalchemy import Connection, delete, insert, select, update

from poller.adapters.sql_ledger.tables import schema
from poller.core.errors import ConflictError
from poller.core.events import Stream
from poller.core.log_ids import LogId
from poller.core.pages import Page
from poller.core.spans import UnreadStretch


def begin(connection: Connection, stream_id: int, at: LogId, until: LogId) -> None:
    """Record `(at, until]` as unread, without what another unread stretch holds already."""
    columns = schema.unread_stretch.c
    held = select(columns.reached, columns.until).where(
        columns.stream_id == stream_id, columns.reached < until, columns.until > at
    )
    for row in connection.execute(held.order_by(columns.reached)).all():
        _insert(connection, stream_id, at, row.reached)
        at = max(at, row.until)
    _insert(connection, stream_id, at, until)


def read(connection: Connection, stream: Stream, stream_id: int) -> tuple[UnreadStretch, ...]:
    """Return the stretches, by their position."""
    columns = schema.unread_stretch.c
    query = (
        select(schema.unread_stretch)
        .where(columns.stream_id == stream_id)
        .order_by(columns.reached)
    )
    return tuple(
        UnreadStretch(
            id=row.id, stream=stream, after=row.reached, reached=row.reached, until=row.until
        )
        for row in connection.execute(query)
    )


def move(connection: Connection, cursor: UnreadStretch, page: Page) -> UnreadStretch:
    """Move the stretch to the page's position. At its end its row is removed.

    Raises:
        ConflictError: the stretch is not where the page was read from.
    """
    if page.believed_at is None and page.position > cursor.reached:
        raise ConflictError("an answer without a believed time confirms nothing")
    columns = schema.unread_stretch.c
    here = (
        columns.id == cursor.id,
        columns.reached == cursor.reached,
        columns.until == cursor.until,
    )
    moved = replace(cursor, reached=page.position)
    change = (
        delete(schema.unread_stretch).where(*here)
        if moved.is_done
        else update(schema.unread_stretch).where(*here).values(reached=page.position)
    )
    if connection.execute(change).rowcount != 1:
        raise ConflictError(f"the unread stretch {cursor.id} is not at {cursor.reached} any more")
    return moved


def cut(connection: Connection, stream_id: int, at: LogId) -> None:
    """Remove everything above `at`."""
    columns = schema.unread_stretch.c
    mine = columns.stream_id == stream_id
    connection.execute(delete(schema.unread_stretch).where(mine, columns.reached >= at))
    connection.execute(
        update(schema.unread_stretch).where(mine, columns.until > at).values(until=at)
    )


def _insert(connection: Connection, stream_id: int, at: LogId, until: LogId) -> None:
    if at < until:
        row = {"stream_id": stream_id, "reached": at, "until": until}
        connection.execute(insert(schema.unread_stretch).values(row))
