"""Rows as core's values; what the ledger and its reader read alike."""

from typing import Any

from sqlalchemy import Connection, Row, select

from poller.adapters.sql_ledger.tables import schema
from poller.core.events import Stream
from poller.core.spans import Gap, Span


def streams(connection: Connection) -> dict[Stream, int]:
    """Every stream and its key."""
    columns = schema.stream.c
    return {
        Stream(domain=row.domain, source_name=row.source_name, generation=row.generation): row.id
        for row in connection.execute(select(schema.stream).order_by(columns.id))
    }


def spans(connection: Connection, stream: Stream, key: int) -> tuple[Span, ...]:
    """The stream's spans, by `after`."""
    columns = schema.span.c
    query = select(schema.span).where(columns.stream_id == key).order_by(columns.after, columns.id)
    return tuple(span(row, stream) for row in connection.execute(query))


def span(row: Row[Any], stream: Stream) -> Span:
    return Span(
        id=row.id,
        stream=stream,
        after=row.after,
        reached=row.reached,
        until=row.until,
        confirmed=row.confirmed,
        drained_at=row.drained_at,
    )


def gaps(connection: Connection, key: int) -> tuple[Gap, ...]:
    """By `after`; they may overlap."""
    columns = schema.gap.c
    query = (
        select(columns.after, columns.before, columns.is_read_once)
        .where(columns.stream_id == key)
        .order_by(columns.after)
    )
    return tuple(Gap(**row) for row in connection.execute(query).mappings())


def may_become(connection: Connection, other: Stream, key: int, stream: Stream) -> bool:
    """Whether the stream `other` has settled nothing, and is of the same tenant as `stream`."""
    if other.domain != stream.domain:
        return False
    if (
        connection.scalar(
            select(schema.file_mark.c.offset).where(schema.file_mark.c.stream_id == key).limit(1)
        )
        is not None
    ):
        return False
    return all(
        span.reached == span.after and span.drained_at is None
        for span in spans(connection, other, key)
    )


def named(stream: Stream) -> str:
    """The stream as messages call it."""
    generation = f", generation {stream.generation}" if stream.generation else ""
    return f"{stream.domain} to {stream.source_name}{generation}"
