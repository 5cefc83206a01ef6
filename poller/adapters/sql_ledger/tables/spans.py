"""The spans of a stream: reading, beginning, joining and cutting them."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    Update,
    bindparam,
    delete,
    insert,
    select,
    update,
)

from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.fences import check_fence, check_recorded
from poller.adapters.sql_ledger.tables.stretches import leave_unread
from poller.core.errors import ConflictError
from poller.core.events import Stream
from poller.core.log_ids import LogId
from poller.core.spans import Span, join_touching


def read_spans(connection: Connection, stream: Stream, stream_id: int) -> tuple[Span, ...]:
    """Return the spans of the stream, by `after`."""
    rows = connection.execute(_select(), {"stream": stream_id})
    return tuple(_span(row, stream) for row in rows)


@cache
def _select() -> Select[Any]:
    columns = schema.span.c
    query = select(schema.span).where(columns.stream_id == bindparam("stream"))
    return query.order_by(columns.after, columns.id)


def write_position(connection: Connection, span: Span) -> None:
    """Write how far the span is settled and confirmed, and when its end was seen last."""
    values = {
        "span": span.id,
        "reached": span.reached,
        "confirmed": span.confirmed,
        "drained_at": span.drained_at,
    }
    connection.execute(_update_position(), values)


@cache
def _update_position() -> Update:
    names = ("reached", "confirmed", "drained_at")
    row = update(schema.span).where(schema.span.c.id == bindparam("span"))
    return row.values({name: bindparam(name) for name in names})


def begin_span(connection: Connection, stream_id: int, new: Span) -> Span:
    """Record a span that has settled nothing, and join it to a span that ends at its `after`."""
    span = insert_span(connection, stream_id, new)
    join_spans(connection, new.stream, stream_id)
    spans = read_spans(connection, new.stream, stream_id)
    return next(each for each in spans if each.id == span.id)


def insert_span(connection: Connection, stream_id: int, span: Span) -> Span:
    """Record a new span. Return it with the id of its row."""
    row = insert(schema.span).values(
        stream_id=stream_id,
        after=span.after,
        reached=span.reached,
        confirmed=span.confirmed,
        until=span.until,
        drained_at=span.drained_at,
        is_catch_up=span.is_catch_up,
        fence=span.fence,
    )
    return _span(connection.execute(row.returning(schema.span)).one(), span.stream)


def find_unmoved(spans: Iterable[Span], span: Span) -> Span:
    """Return the span as it is recorded. Its `after` may be lower, if spans were joined meanwhile.

    Raises:
        TakenOverError: another owner has begun to work on the span.
        ConflictError: the span has moved since it was read, or its row is deleted.
    """
    current = next((each for each in spans if each.id == span.id), None)
    if current is None:
        raise ConflictError(f"there is no span {span.id}")
    check_fence(current.fence, span.fence)
    if (current.reached, current.until) != (span.reached, span.until):
        raise ConflictError(
            f"span {span.id} is at {current.reached} and not at {span.reached}: "
            "someone else moved it"
        )
    return current


def end_span(connection: Connection, stream_id: int, span: Span, end: LogId) -> None:
    """End a span at `end`, up to which it is settled, or delete it if it settled nothing there.

    The part that is settled and not confirmed yet becomes an unread stretch.
    """
    own = schema.span.c.id == span.id
    if end <= span.after:
        connection.execute(delete(schema.span).where(own))
        return
    if span.confirmed < end:
        leave_unread(connection, stream_id, span.confirmed, end)
    ended = {"reached": end, "until": end, "confirmed": end}
    connection.execute(update(schema.span).where(own).values(ended))


def refuse_overlap(spans: Iterable[Span], after: LogId, until: LogId | None) -> None:
    """Refuse a new span that reaches into a span of the stream.

    A bounded span owns everything up to its `until`, settled or not. The live span owns everything
    above its `after`.

    Raises:
        ConflictError: the spans overlap, or both of them are live.
    """
    for span in spans:
        if span.is_live and until is None:
            raise ConflictError(f"there is a live span already, above {span.after}")
        begins_below = until is None or until > span.after
        ends_above = span.until is None or span.until > after
        if begins_below and ends_above:
            raise ConflictError(f"the stretch overlaps the span above {span.after}")


def join_spans(connection: Connection, stream: Stream, stream_id: int) -> None:
    """Join each finished span to the span that begins where it ends.

    `join_touching` says what a join is. Of two rows the lower one is deleted, and only `after`
    changes in the upper one, so that a worker that holds the upper span can go on with it.
    """
    before = read_spans(connection, stream, stream_id)
    joined = {span.id: span for span in join_touching(before)}
    if len(joined) == len(before):
        return
    columns = schema.span.c
    deleted = [span.id for span in before if span.id not in joined]
    connection.execute(delete(schema.span).where(columns.id.in_(deleted)))
    for span in joined.values():
        row = update(schema.span).where(columns.id == span.id, columns.after != span.after)
        connection.execute(row.values(after=span.after))


def cut_span(connection: Connection, stream_id: int, span: Span, at: LogId) -> tuple[Span, Span]:
    """End a span at `at`, and begin another span with the rest of it. Return both.

    Raises:
        TakenOverError: another owner has begun to work on the span.
        ConflictError: the span has moved since it was read.
    """
    check_recorded(connection, span, span.fence)
    columns = schema.span.c
    same = (columns.id == span.id, columns.reached == span.reached, columns.until == span.until)
    if connection.execute(update(schema.span).where(*same).values(until=at)).rowcount != 1:
        raise ConflictError(f"span {span.id} is not at {span.reached}: someone else moved it")
    rest = replace(span, after=at, reached=at, confirmed=at)
    return replace(span, until=at), insert_span(connection, stream_id, rest)


def cut_off_catch_up(
    connection: Connection, stream_id: int, spans: Iterable[Span], at: LogId
) -> None:
    """Take what lies above `at` out of the slices of a catch-up, since the daemon reads it anew.

    What lies below stays a part of the slice, settled or not.
    """
    for span in spans:
        if not span.is_catch_up or span.until is None or span.until <= at:
            continue
        if span.after < at and span.reached < at:
            own = schema.span.c.id == span.id
            connection.execute(update(schema.span).where(own).values(until=at))
        else:
            end_span(connection, stream_id, span, at)


def _span(row: Row[Any], stream: Stream) -> Span:
    return Span(
        id=row.id,
        stream=stream,
        after=row.after,
        reached=row.reached,
        until=row.until,
        confirmed=row.confirmed,
        drained_at=row.drained_at,
        is_catch_up=row.is_catch_up,
        fence=row.fence,
    )
