"""The format of the file that holds a stream: lines of JSON.

1. The header names the format, the version of the schema, the row of the stream, and the routes of
   the settings files to which it belongs.
2. For each table, one line names the table and its columns. A line for each row follows.
3. The last line holds the number of rows of each table, and a hash of all lines before it. So a
   file that was cut or damaged is recognised.

The ids of rows are left out, since each ledger numbers its own rows.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, BinaryIO

from sqlalchemy import Boolean, Column, Integer, Table

from poller.adapters.sql_ledger.schema_version import VERSION
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.column_types import UtcText
from poller.adapters.sql_ledger.tables.routing import RoutingRow, from_texts
from poller.core.errors import FatalError

FORMAT = "auth0-segment-poller stream"
FORMAT_VERSION = 1
LEFT_OUT = frozenset(
    {"ledger_version", "fatal_exit", "key_check", "event_total", "dead_letter_total", "routing"}
)
"""Tables of the ledger as a whole, and totals, which the database counts anew.

The routes of a stream are in the header, since several streams share them.
"""
_LONGEST_LINE_BYTES = 64 << 20


def tables_of_stream() -> tuple[Table, ...]:
    """Return the tables whose rows belong to a stream, beside the table of the streams."""
    return tuple(
        table
        for table in schema.metadata.sorted_tables
        if table is not schema.stream and table.name not in LEFT_OUT
    )


def columns_of(table: Table) -> tuple[Column[Any], ...]:
    """Return the columns that are moved: all but the id of the row and that of the stream."""
    return tuple(column for column in table.c if column.name not in {"id", "stream_id"})


def header_of(stream: Mapping[str, Any], routes: Iterable[tuple[str, str, str]]) -> dict[str, Any]:
    """Return the header of a file, for the row of the stream and its routes."""
    named = {column.name: _plain(stream[column.name]) for column in columns_of(schema.stream)}
    header = {"format": FORMAT, "version": FORMAT_VERSION, "schema": VERSION, "stream": named}
    return header | {"routes": [*routes]}


def table_line(table: Table) -> dict[str, Any]:
    """Return the line above the rows of a table."""
    return {"table": table.name, "columns": [column.name for column in columns_of(table)]}


def row_line(values: tuple[Any, ...]) -> list[Any]:
    """Return the line of a row."""
    return [_plain(value) for value in values]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value


class LineWriter:
    """Writes lines, and hashes them."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = sha256()

    def write(self, line: Any) -> None:
        text = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        self._hash.update(text)
        self._file.write(text)

    def end(self, rows: Mapping[str, int]) -> None:
        """Write the last line."""
        self.write({"rows": rows, "sha256": self._hash.hexdigest()})


class LineReader:
    """Reads lines, and hashes them. Every method raises FatalError if the file cannot be used."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = sha256()

    def read(self) -> Any:
        """Return the next line."""
        text = self._file.readline(_LONGEST_LINE_BYTES)
        if not text.endswith(b"\n"):
            raise unusable_error("it ends in the middle: it was cut")
        before = self._hash.copy()
        self._hash.update(text)
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            raise unusable_error("a line of it is no JSON") from None
        if isinstance(line, dict) and "sha256" in line and line["sha256"] != before.hexdigest():
            raise unusable_error("it was changed or damaged: its hash differs")
        return line

    def read_header(self) -> tuple[dict[str, Any], list[RoutingRow]]:
        """Return the values of the row of the stream, and its routes."""
        header = self.read()
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise unusable_error("it holds no exported stream")
        found = (header.get("version"), header.get("schema"))
        if found != (FORMAT_VERSION, VERSION):
            raise unusable_error(
                f"it has format {found[0]} and schema {found[1]}, and this program reads format "
                f"{FORMAT_VERSION} and schema {VERSION}"
            )
        named = header.get("stream")
        columns = columns_of(schema.stream)
        if not isinstance(named, dict) or [*named] != [column.name for column in columns]:
            raise unusable_error("its header does not name a stream")
        values = values_of(columns, [*named.values()])
        try:
            return values, [from_texts(values["domain"], each) for each in header["routes"]]
        except (KeyError, TypeError, ValueError):
            raise unusable_error("its header does not name the routes") from None

    def refuse_more(self) -> None:
        if self._file.read(1):
            raise unusable_error("something follows its last line")


def values_of(columns: tuple[Column[Any], ...], line: Any) -> dict[str, Any]:
    """Return the values of a row by column.

    Raises:
        FatalError: the line holds other values than the columns take.
    """
    if not isinstance(line, list) or len(line) != len(columns):
        raise unusable_error("a row of it has another number of values than its table has columns")
    return {column.name: _value(column, value) for column, value in zip(columns, line, strict=True)}


def _value(column: Column[Any], value: Any) -> Any:
    if value is None and column.nullable:
        return None
    try:
        return _reader_of(column)(value)
    except (TypeError, ValueError):
        raise unusable_error(f"a value of {column.table.name}.{column.name} cannot be") from None


def _reader_of(column: Column[Any]) -> Callable[[Any], Any]:
    if isinstance(column.type, UtcText):
        return _moment
    if isinstance(column.type, Boolean):
        return lambda value: _of_kind(bool, value)
    if isinstance(column.type, Integer):
        return lambda value: _of_kind(int, value)
    return lambda value: _of_kind(str, value)


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _of_kind(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError("another type")
    return value


def unusable_error(why: str) -> FatalError:
    """Return the error of a file that cannot be imported."""
    return FatalError(
        f"the file cannot be imported: {why}",
        code="export-unusable",
        hint="export the stream again, with the version of the program that imports it. Nothing "
        "was imported",
    )
