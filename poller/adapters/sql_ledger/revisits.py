"""Stretches of spans that are walked once more: recorded gaps that can be read again, and what is sent again at will.

A stretch to revisit stands in a table of its own, so that spans stay what they are: proof of what was settled. Its row
goes when it is through.
"""

from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import Connection, Row, delete, insert, select, update

from poller.adapters.sql_ledger import schema, sqlite
from poller.core.errors import ConflictError
from poller.core.events import LogId, Span, Stream, successor
from poller.core.settlement import Settlement


def read(connection: Connection, stream: Stream, stream_id: int) -> tuple[Span, ...]:
    """By `after`."""
    columns = schema.revisit.c
    query = select(schema.revisit).where(columns.stream_id == stream_id).order_by(columns.after, columns.id)
    return tuple(_span(row, stream) for row in connection.execute(query))


def begin(
    connection: Connection,
    stream: Stream,
    stream_id: int,
    stretches: Iterable[tuple[LogId, LogId]],
    *,
    is_counted: bool,
) -> tuple[Span, ...]:
    """`is_counted`: the events were never settled, and count as read from now on."""
    rows = [
        {"stream_id": stream_id, "after": after, "reached": after, "until": until, "is_counted": is_counted}
        for after, until in stretches
    ]
    new = insert(schema.revisit).returning(schema.revisit)
    return tuple(_span(connection.execute(new.values(row)).one(), stream) for row in rows)


def shrink_gaps(connection: Connection, stream_id: int, after: LogId, reached: LogId) -> None:
    """Takes `(after, reached]`, which has been read after all, out of the recorded gaps."""
    columns = schema.gap.c
    touched = (columns.stream_id == stream_id, columns.after < reached, columns.before > successor(after))
    rows = connection.execute(select(schema.gap).where(*touched)).all()
    connection.execute(delete(schema.gap).where(columns.id.in_([row.id for row in rows])))
    for row in rows:
        rests = ((row.after, successor(after)), (reached, row.before))
        for begin, end in rests:
            if (row.after, row.before) != (begin, end) and successor(begin) < end and row.after <= begin < row.before:
                rest = {"stream_id": stream_id, "after": begin, "before": end, "noticed_at": row.noticed_at}
                connection.execute(sqlite.upsert(schema.gap).values(rest).on_conflict_do_nothing())


def move(connection: Connection, settlement: Settlement) -> Span:
    """Moves the stretch to the page's position, if it is still where the page was read from; one that is through goes.

    What was a gap is none any more as far as it has been read; what is lost of it after all is recorded anew.

    Raises:
        ConflictError: it is not.
    """
    span, page = settlement.span, settlement.page
    columns = schema.revisit.c
    where = (columns.id == span.id, columns.reached == span.reached, columns.until == span.until)
    moved = replace(span, reached=page.position)
    change = (
        delete(schema.revisit).where(*where)
        if moved.is_done
        else update(schema.revisit).where(*where).values(reached=page.position)
    )
    if connection.execute(change).rowcount != 1:
        raise ConflictError(f"the revisit {span.id} is not at {span.reached}: someone else moved it")
    return moved


def cut(connection: Connection, stream_id: int, span: Span, at: LogId) -> tuple[Span, Span]:
    """The part up to `at`, and the rest as a stretch of its own.

    Raises:
        ConflictError: the stretch has moved on.
    """
    columns = schema.revisit.c
    where = (columns.id == span.id, columns.reached == span.reached, columns.until == span.until)
    if connection.execute(update(schema.revisit).where(*where).values(until=at)).rowcount != 1:
        raise ConflictError(f"the revisit {span.id} is not at {span.reached}: someone else moved it")
    (far,) = begin(connection, span.stream, stream_id, [(at, span.until or at)], is_counted=span.is_counted)
    return replace(span, until=at), far


def _span(row: Row[tuple[object, ...]], stream: Stream) -> Span:
    return Span(
        id=row.id,
        stream=stream,
        after=row.after,
        reached=row.reached,
        until=row.until,
        is_revisit=True,
        is_counted=row.is_counted,
    )
