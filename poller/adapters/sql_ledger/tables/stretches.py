"""Stretches that are read outside of any span: unread stretches and revisits.

They have tables of their own, so that spans stay what they are: proof of what was settled.

- An *unread stretch* is left behind if a span ends before everything in it was confirmed. The
  second reading still has to read it. Unread stretches never overlap.
- A *revisit* is a recorded gap that can be read after all, a settled stretch that a person
  wants to send again, a stretch that went to a wrong write key, or a stretch in which a removed
  route left events to this one.

Each row holds the position in its stretch, and is deleted when the position reaches the end.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, insert, select, update

from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.fences import check_recorded
from poller.core.errors import ConflictError
from poller.core.events import Stream
from poller.core.log_ids import LogId
from poller.core.spans import (
    Inherited,
    LogRange,
    Redelivery,
    ReopenedGap,
    Resend,
    UnreadStretch,
    difference,
)

Revisit = ReopenedGap | Resend | Inherited
Stretch = UnreadStretch | Revisit

_REVISITS: dict[str, type[Revisit]] = {
    "reopened_gap": ReopenedGap,
    "resend": Resend,
    "redelivery": Redelivery,
    "inherited": Inherited,
}
_KINDS = {revisit: kind for kind, revisit in _REVISITS.items()}


def read_unread(
    connection: Connection, stream: Stream, stream_id: int
) -> tuple[UnreadStretch, ...]:
    """Return the unread stretches of the stream, by their position."""
    columns = schema.unread_stretch.c
    query = select(schema.unread_stretch).where(columns.stream_id == stream_id)
    return tuple(
        UnreadStretch(
            id=row.id,
            stream=stream,
            after=row.reached,
            reached=row.reached,
            until=row.until,
            fence=row.fence,
        )
        for row in connection.execute(query.order_by(columns.reached))
    )


def leave_unread(connection: Connection, stream_id: int, after: LogId, until: LogId) -> None:
    """Record `(after, until]` as unread, without the parts that are recorded already."""
    columns = schema.unread_stretch.c
    recorded = select(columns.reached, columns.until).where(
        columns.stream_id == stream_id, columns.reached < until, columns.until > after
    )
    for row in connection.execute(recorded.order_by(columns.reached)).all():
        _insert_unread(connection, stream_id, after, row.reached)
        after = max(after, row.until)
    _insert_unread(connection, stream_id, after, until)


def read_revisits(connection: Connection, stream: Stream, stream_id: int) -> tuple[Revisit, ...]:
    """Return the revisits of the stream, by `after`."""
    columns = schema.revisit.c
    query = select(schema.revisit).where(columns.stream_id == stream_id)
    rows = connection.execute(query.order_by(columns.after, columns.id))
    return tuple(_revisit(row, stream) for row in rows)


def begin_revisits(
    connection: Connection,
    stream: Stream,
    stream_id: int,
    kind: type[Revisit],
    stretches: Iterable[tuple[LogId, LogId]],
    *,
    fence: int = 0,
) -> tuple[Revisit, ...]:
    """Record stretches `(after, until]`, none of them read yet. Return them in the same order."""
    row = insert(schema.revisit).returning(schema.revisit)
    values = [
        {
            "stream_id": stream_id,
            "after": after,
            "reached": after,
            "until": until,
            "kind": _KINDS[kind],
            "fence": fence,
        }
        for after, until in stretches
    ]
    return tuple(_revisit(connection.execute(row.values(each)).one(), stream) for each in values)


def move_stretch(connection: Connection, stretch: Stretch, position: LogId) -> Stretch:
    """Move the stretch to this position. At its end its row is deleted.

    Raises:
        TakenOverError: another owner has begun to work on the stretch.
        ConflictError: the stretch has moved since it was read.
    """
    moved = replace(stretch, reached=position)
    table = _table_of(stretch)
    if moved.is_done:
        _change(connection, stretch, delete(table))
    else:
        _change(connection, stretch, update(table).values(reached=position))
    return moved


def cut_revisit(
    connection: Connection, stream_id: int, revisit: Revisit, at: LogId
) -> tuple[Revisit, Revisit]:
    """End a revisit at `at`, and begin another one of its kind with the rest. Return both.

    Raises:
        TakenOverError: another owner has begun to work on the revisit.
        ConflictError: the revisit has moved since it was read.
    """
    _change(connection, revisit, update(schema.revisit).values(until=at))
    rest = [(at, revisit.until or at)]
    (far,) = begin_revisits(
        connection, revisit.stream, stream_id, type(revisit), rest, fence=revisit.fence
    )
    return replace(revisit, until=at), far


def cut_out_inherited(
    connection: Connection, stream: Stream, stream_id: int, ranges: Iterable[LogRange]
) -> None:
    """Take these ranges out of the inherited parts, since a redelivery takes those events too."""
    for each in read_revisits(connection, stream, stream_id):
        if isinstance(each, Inherited) and each.until:
            rest = difference([LogRange(after=each.reached, until=each.until)], ranges)
            connection.execute(delete(schema.revisit).where(schema.revisit.c.id == each.id))
            stretches = [(part.after, part.until) for part in rest]
            begin_revisits(connection, stream, stream_id, Inherited, stretches)


def cut_off_stretches(connection: Connection, stream_id: int, at: LogId) -> None:
    """Delete what lies above `at`, since the daemon reads the log from there anew."""
    for table in (schema.unread_stretch, schema.revisit):
        columns, own = table.c, table.c.stream_id == stream_id
        connection.execute(delete(table).where(own, columns.reached >= at))
        connection.execute(update(table).where(own, columns.until > at).values(until=at))


def _table_of(stretch: Stretch) -> Table:
    match stretch:
        case UnreadStretch():
            return schema.unread_stretch
        case ReopenedGap() | Resend() | Inherited():
            return schema.revisit


def _change(connection: Connection, stretch: Stretch, change: Any) -> None:
    """Apply this update or delete to the row, if the row is as the stretch says."""
    check_recorded(connection, stretch, stretch.fence)
    columns = _table_of(stretch).c
    same = (
        columns.id == stretch.id,
        columns.reached == stretch.reached,
        columns.until == stretch.until,
    )
    if connection.execute(change.where(*same)).rowcount != 1:
        raise ConflictError(
            f"{type(stretch).__name__} {stretch.id} is not at {stretch.reached}: "
            "someone else moved it"
        )


def _insert_unread(connection: Connection, stream_id: int, after: LogId, until: LogId) -> None:
    if after < until:
        row = insert(schema.unread_stretch)
        connection.execute(row.values(stream_id=stream_id, reached=after, until=until))


def _revisit(row: Row[Any], stream: Stream) -> Revisit:
    return _REVISITS[row.kind](
        id=row.id,
        stream=stream,
        after=row.after,
        reached=row.reached,
        until=row.until,
        fence=row.fence,
    )
