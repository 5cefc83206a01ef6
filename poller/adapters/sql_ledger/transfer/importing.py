"""Reading a stream from a file into a ledger that does not hold it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

from sqlalchemy import Connection, Table, insert
from sqlalchemy.exc import DataError, IntegrityError

from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.routing import RoutingRow, add_row, read_rows
from poller.adapters.sql_ledger.tables.streams import label, read_streams
from poller.adapters.sql_ledger.transfer.exporting import ROWS_AT_ONCE
from poller.adapters.sql_ledger.transfer.file_format import (
    LineReader,
    columns_of,
    table_line,
    tables_of_stream,
    unusable_error,
    values_of,
)
from poller.core.errors import FatalError
from poller.core.events import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedStream:
    """A stream that was imported, with the number of its rows by table."""

    stream: Stream
    rows: dict[str, int]


def import_stream(url: str, file: BinaryIO) -> ImportedStream:
    """Add the stream of the file to the ledger, in one transaction. Make a ledger that is missing.

    The caller holds the locks of `run` and `backfill`, so no process works on the ledger.

    Raises:
        FatalError: the file is damaged or of another version, the ledger holds the stream already,
            or the ledger cannot be used.
        TransientError: the ledger is locked, or its disk is full.
    """
    reader = LineReader(file)
    values, routes = reader.read_header()
    database = place_of(url).open(create=True)
    try:
        with database.writing() as connection:
            _add_routes(connection, values["domain"], routes)
            return _read(connection, values, reader)
    finally:
        database.close()


def _add_routes(connection: Connection, domain: str, routes: Iterable[RoutingRow]) -> None:
    """Add the routes of settings files, unless another stream of the file has brought them."""
    for each in routes:
        if not read_rows(connection, domain, each.file):
            add_row(connection, domain, each.file, each)


def _read(connection: Connection, values: dict[str, Any], reader: LineReader) -> ImportedStream:
    stream = Stream(
        domain=values["domain"],
        source_name=values["source_name"],
        generation=values["generation"],
    )
    if stream in read_streams(connection):
        raise FatalError(
            f"the ledger holds {label(stream)} already",
            code="stream-exists",
            hint="import into another ledger. If the stream was begun here by mistake, remove it: "
            f"`ledger remove-stream --source-name {stream.source_name}`",
        )
    new = insert(schema.stream).values(values).returning(schema.stream.c.id)
    stream_id = int(connection.execute(new).scalar_one())
    return ImportedStream(stream=stream, rows=_read_tables(connection, stream_id, reader))


def _read_tables(connection: Connection, stream_id: int, reader: LineReader) -> dict[str, int]:
    rows: dict[str, int] = {}
    line = reader.read()
    for table in tables_of_stream():
        if line != table_line(table):
            raise unusable_error(f"the rows of {table.name} are missing, or have other columns")
        rows[table.name] = 0
        columns = columns_of(table)
        line = reader.read()
        while isinstance(line, list):
            batch: list[dict[str, Any]] = []
            while isinstance(line, list) and len(batch) < ROWS_AT_ONCE:
                batch.append({"stream_id": stream_id, **values_of(columns, line)})
                line = reader.read()
            _insert(connection, table, batch)
            rows[table.name] += len(batch)
    _refuse_incomplete(line, rows, reader)
    return rows


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    try:
        connection.execute(insert(table), rows)
    except (IntegrityError, DataError, OverflowError):
        raise unusable_error(f"{table.name} refuses a row of it") from None


def _refuse_incomplete(line: Any, rows: dict[str, int], reader: LineReader) -> None:
    if not isinstance(line, dict) or "sha256" not in line or line.get("rows") != rows:
        raise unusable_error("it does not hold the rows that its last line counts")
    reader.refuse_more()
