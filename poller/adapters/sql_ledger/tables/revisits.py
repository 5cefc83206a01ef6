"""Stretches of spans that are walked once more: recorded gaps that can be read again, and what is sent again at will.

A stretch to revisit stands in a table of its own, so that spans stay what they are: proof of what was settled. Its row
goes when it is through.
"""

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import Connection, Row, delete, insert, select, update

from poller.adapters.sql_ledger.sqlite import driver
from poller.adapters.sql_ledger.tables import schema
from poller.core.errors import ConflictError
from poller.core.events import Stream
from poller.core.log_ids import LogId, successor
from poller.core.pages import Page
from poller.core.spans import ReopenedGap, Resend

Revisit = ReopenedGap | Resend

_KINDS: dict[str, type[Revisit]] = {"reopened_gap": ReopenedGap, "resend": Resend}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def read(connection: Connection, stream: Stream, stream_id: int) -> tuple[Revisit, ...]:
    """By `after`."""
    columns = schema.revisit.c
    query = (
        select(schema.revisit)
        .where(columns.stream_id == stream_id)
        .order_by(columns.after, columns.id)
    )
    return tuple(_revisit(row, stream) for row in connection.execute(query))


def begin(
    connection: Connection,
    stream: Stream,
    stream_id: int,
    kind: type[Revisit],
    stretches: Iterable[tuple[LogId, LogId]],
) -> tuple[Revisit, ...]:
    """Record stretches `(after, until]` of this kind, none of them read yet. Return them in the same order."""
    rows = [
        {
            "stream_id": stream_id,
            "after": after,
            "reached": after,
            "until": until,
            "kind": _NAMES[kind],
        }
        for after, until in stretches
    ]
    new = insert(schema.revisit).returning(schema.revisit)
    return tuple(_revisit(connection.execute(new.values(row)).one(), stream) for row in rows)


def shrink_gaps(connection: Connection, stream_id: int, after: LogId, reached: LogId) -> None:
    """Takes `(after, reached]`, which has been read after all, out of the recorded gaps."""
    columns = schema.gap.c
    touched = (
        columns.stream_id == stream_id,
        ~columns.is_read_once,
        columns.after < reached,
        columns.before > successor(after),
    )
    rows = connection.execute(select(schema.gap).where(*touched)).all()
    connection.execute(delete(schema.gap).where(columns.id.in_([row.id for row in rows])))
    for row in rows:
        rests = ((row.after, successor(after)), (reached, row.before))
        for begin, end in rests:
            if (
                (row.after, row.before) != (begin, end)
                and successor(begin) < end
                and row.after <= begin < row.before
            ):
                rest = {
                    "stream_id": stream_id,
                    "after": begin,
                    "before": end,
                    "noticed_at": row.noticed_at,
                    "is_read_once": False,
                }
                connection.execute(driver.upsert(schema.gap).values(rest).on_conflict_do_nothing())


def move(connection: Connection, cursor: Revisit, page: Page) -> Revisit:
    """Move the stretch to the page's position. At its end its row is removed.

    Raises:
        ConflictError: the stretch is not where the page was read from.
    """
    columns = schema.revisit.c
    where = (
        columns.id == cursor.id,
        columns.reached == cursor.reached,
        columns.until == cursor.until,
    )
    moved = replace(cursor, reached=page.position)
    change = (
        delete(schema.revisit).where(*where)
        if moved.is_done
        else update(schema.revisit).where(*where).values(reached=page.position)
    )
    if connection.execute(change).rowcount != 1:
        raise ConflictError(
            f"the revisit {cursor.id} is not at {cursor.reached}: someone else moved it"
        )
    return moved


def cut_off(connection: Connection, stream_id: int, at: LogId) -> None:
    """Remove everything above `at`."""
    columns = schema.revisit.c
    mine = columns.stream_id == stream_id
    connection.execute(delete(schema.revisit).where(mine, columns.reached >= at))
    connection.execute(update(schema.revisit).where(mine, columns.until > at).values(until=at))


def cut(
    connection: Connection, stream_id: int, span: Revisit, at: LogId
) -> tuple[Revisit, Revisit]:
    """The part up to `at`, and the rest as a stretch of its own.

    Raises:
        ConflictError: the stretch has moved on.
    """
    columns = schema.revisit.c
    where = (columns.id == span.id, columns.reached == span.reached, columns.until == span.until)
    if connection.execute(update(schema.revisit).where(*where).values(until=at)).rowcount != 1:
        raise ConflictError(
            f"the revisit {span.id} is not at {span.reached}: someone else moved it"
        )
    rest = [(at, span.until or at)]
    (far,) = begin(connection, span.stream, stream_id, type(span), rest)
    return replace(span, until=at), far


def _revisit(row: Row[tuple[object, ...]], stream: Stream) -> Revisit:
    return _KINDS[row.kind](
        id=row.id, stream=stream, after=row.after, reached=row.reached, until=row.until
    )
