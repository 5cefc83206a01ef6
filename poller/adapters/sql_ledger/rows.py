"""Rows as core's values; what the ledger and its reader read alike."""

from typing import Any

from sqlalchemy import Connection, Row, select

from poller.adapters.sql_ledger import schema
from poller.core.events import Span, Stream


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


def named(stream: Stream) -> str:
    """The stream as messages call it."""
    generation = f", generation {stream.generation}" if stream.generation else ""
    return f"{stream.domain} to {stream.source_name}{generation}"
