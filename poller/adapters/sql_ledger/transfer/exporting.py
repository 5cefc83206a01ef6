"""Writing everything that a ledger holds of a stream into a file."""

from collections.abc import Iterable
from typing import BinaryIO

from sqlalchemy import Connection, Table, select

from poller.adapters.sql_ledger.places import open_database
from poller.adapters.sql_ledger.route_files import settled_routes
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.routing import RoutingRow, as_texts
from poller.adapters.sql_ledger.tables.streams import read_streams
from poller.adapters.sql_ledger.transfer.file_format import (
    LineWriter,
    columns_of,
    header_of,
    row_line,
    table_line,
    tables_of_stream,
)
from poller.core.events import Stream

ROWS_AT_ONCE = 1000
"""Rows that are held in memory at once."""


def export_stream(url: str, stream: Stream, file: BinaryIO) -> dict[str, int]:
    """Write the stream, as it is at one moment. Return the number of rows by table.

    The caller holds the locks of `run` and `backfill`, so no process works on the stream. The file
    holds personal data: dead letters, and the ids of users whose identify is pending.

    Raises:
        FatalError: a change of the routes is not over, and the file does not hold such changes.
        TransientError, FatalError: the ledger cannot be read.
        OSError: the file cannot be written.
    """
    database = open_database(url, change=False)
    try:
        with database.reading() as connection:
            routes = settled_routes(connection, stream)
            stream_id = read_streams(connection)[stream]
            return _write(connection, stream_id, routes, LineWriter(file))
    finally:
        database.close()


def _write(
    connection: Connection, stream_id: int, routes: Iterable[RoutingRow], writer: LineWriter
) -> dict[str, int]:
    own = select(schema.stream).where(schema.stream.c.id == stream_id)
    writer.write(header_of(dict(connection.execute(own).mappings().one()), map(as_texts, routes)))
    rows = {
        table.name: _write_table(connection, table, stream_id, writer)
        for table in tables_of_stream()
    }
    writer.end(rows)
    return rows


def _write_table(connection: Connection, table: Table, stream_id: int, writer: LineWriter) -> int:
    writer.write(table_line(table))
    query = select(*columns_of(table)).where(table.c.stream_id == stream_id)
    query = query.order_by(*table.primary_key.columns)
    found = connection.execute(query.execution_options(yield_per=ROWS_AT_ONCE))
    rows = 0
    for row in found:
        writer.write(row_line(tuple(row)))
        rows += 1
    return rows
