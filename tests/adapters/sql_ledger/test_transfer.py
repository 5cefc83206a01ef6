"""A stream moves from one ledger to another as a whole, whatever databases they are in."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Boolean, Column, Integer, Table, insert, select

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import open_database
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.column_types import PlainText, UtcText
from poller.adapters.sql_ledger.tables.streams import read_streams
from poller.adapters.sql_ledger.transfer.exporting import export_stream
from poller.adapters.sql_ledger.transfer.file_format import (
    LEFT_OUT,
    columns_of,
    tables_of_stream,
)
from poller.adapters.sql_ledger.transfer.importing import import_stream
from poller.core.errors import FatalError
from poller.core.events import Stream
from tests.adapters.sql_ledger.dialects import DIALECTS, url_of
from tests.builders import live_of, page, settlement
from tests.fakes import NOW, STREAM, numbered

OTHER = replace(STREAM, source_name="other")
RISING = ("after", "confirmed", "reached", "until", "before")
"""The columns of log ids whose values rise within a row."""
Rows = dict[str, list[tuple[Any, ...]]]


def value_for(column: Column[Any]) -> st.SearchStrategy[Any]:
    if isinstance(column.type, UtcText):
        return st.integers(0, 10**9).map(lambda ms: NOW + timedelta(milliseconds=ms))
    if isinstance(column.type, Boolean):
        return st.booleans()
    if isinstance(column.type, Integer) or "BIGINT" in str(column.type):
        return st.integers(0, 2**31 - 1)
    # Text from outside may hold half a surrogate pair.
    codec = None if isinstance(column.type, PlainText) else "utf-8"
    return st.text(st.characters(codec=codec, exclude_characters="\0"), max_size=20)


@st.composite
def row_for(draw: Callable[[Any], Any], table: Table) -> dict[str, Any]:
    row = {
        column.name: draw(st.none() | value_for(column) if column.nullable else value_for(column))
        for column in columns_of(table)
    }
    ids = sorted(draw(st.sets(st.integers(0, 10**6), min_size=5, max_size=5)))
    rising = [name for name in RISING if name in row]
    # Only one span of a stream may have no end, so every span has one here.
    return row | {name: numbered(number) for name, number in zip(rising, ids, strict=False)}


def key_of(table: Table, row: dict[str, Any]) -> tuple[Any, ...]:
    keys = [column.name for column in table.primary_key if column.name in row]
    unique = keys or [name for name in ("log_id", "after") if name in row]
    return tuple(str(row[name]).encode("utf-8", "backslashreplace") for name in unique)


def rows_for(table: Table) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(
        row_for(table), min_size=1, max_size=4, unique_by=lambda row: key_of(table, row)
    )


def rows_for_every_table() -> st.SearchStrategy[dict[str, list[dict[str, Any]]]]:
    return st.fixed_dictionaries({table.name: rows_for(table) for table in tables_of_stream()})


def fill(url: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    with (
        closing(open_database(url, change=True)) as database,
        database.writing() as connection,
    ):
        stream_id = read_streams(connection)[STREAM]
        for name, values in rows.items():
            own = [{"stream_id": stream_id, **row} for row in values]
            connection.execute(insert(schema.metadata.tables[name]), own)


def held(url: str, stream: Stream = STREAM) -> Rows:
    """Return every row of the stream in every table, without its ids."""
    with (
        closing(open_database(url, change=False)) as database,
        database.reading() as connection,
    ):
        stream_id = read_streams(connection)[stream]
        found: Rows = {}
        for table in schema.metadata.sorted_tables:
            own = "id" if table is schema.stream else "stream_id"
            if own in table.c:
                query = select(*columns_of(table)).where(table.c[own] == stream_id)
                found[table.name] = sorted(map(tuple, connection.execute(query)), key=repr)
        return found


def exported(url: str, stream: Stream = STREAM) -> bytes:
    file = io.BytesIO()
    export_stream(url, stream, file)
    return file.getvalue()


def made(url: str, *streams: Stream) -> str:
    for stream in streams:
        SqlLedger.open(url, stream, create=True, adopt=True).close()
    return url


@pytest.fixture
def settled(tmp_path: Any) -> str:
    """A ledger with one settled page."""
    url = f"sqlite:///{tmp_path / 'from.db'}"
    with closing(SqlLedger.open(url, STREAM, create=True)) as ledger:
        ledger.settle(settlement(ledger.begin(after=numbered(0)), page(1, 2, 3)))
    return url


@pytest.fixture(params=DIALECTS)
def target(request: pytest.FixtureRequest) -> str:
    """The URL of a ledger that does not exist yet."""
    return url_of(request.param, request)


def test_every_table_is_moved_or_left_out_for_a_reason() -> None:
    moved = {table.name for table in tables_of_stream()}
    assert moved | LEFT_OUT | {"stream"} == {*schema.metadata.tables}
    assert moved & LEFT_OUT == set()
    assert all("stream_id" in table.c for table in tables_of_stream())


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    return lambda: tmp_path_factory.mktemp("ledgers")


@settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=rows_for_every_table())
def test_all_rows_of_every_table_arrive(
    folder: Callable[[], Any], rows: dict[str, list[dict[str, Any]]]
) -> None:
    path = folder()
    first, second = (f"sqlite:///{path / name}.db" for name in ("first", "second"))
    made(first, STREAM)
    fill(first, rows)
    text = exported(first)
    imported = import_stream(second, io.BytesIO(text))
    assert imported.stream == STREAM
    assert imported.rows == {name: len(values) for name, values in rows.items()}
    assert held(second) == held(first)
    assert exported(second) == text


def test_a_stream_goes_on_where_it_was(settled: str, target: str) -> None:
    text = exported(settled)
    import_stream(target, io.BytesIO(text))
    assert held(target) == held(settled)
    assert exported(target) == text
    with closing(SqlLedger.open(target, STREAM, create=False)) as ledger:
        live = live_of(ledger)
        assert live is not None
        assert ledger.settle(settlement(live, page(4))).reached == numbered(4)
        assert live.fence > 1


def test_only_the_rows_of_the_stream_are_exported(settled: str, target: str) -> None:
    made(settled, OTHER)
    with closing(SqlLedger.open(settled, OTHER, create=False)) as ledger:
        ledger.begin(after=numbered(70))
    made(target, OTHER)
    before = held(target, OTHER)
    import_stream(target, io.BytesIO(exported(settled)))
    assert held(target) == held(settled)
    assert held(target, OTHER) == before


def test_a_ledger_that_holds_the_stream_takes_no_import(settled: str, target: str) -> None:
    made(target, STREAM)
    before = held(target)
    with pytest.raises(FatalError) as error:
        import_stream(target, io.BytesIO(exported(settled)))
    assert error.value.code == "stream-exists"
    assert held(target) == before


def cut(text: bytes) -> Iterator[bytes]:
    """Yield the file without its end, cut at some lines and within them."""
    lines = text.splitlines(keepends=True)
    for number in (0, 1, 2, len(lines) // 2, len(lines) - 1):
        yield b"".join(lines[:number])
        yield b"".join(lines[:number]) + lines[number][:-1]


def changed(text: bytes) -> Iterator[bytes]:
    """Yield the file with one thing changed in it."""
    lines = text.splitlines(keepends=True)
    header = json.loads(lines[0])
    for wrong in (
        {"schema": header["schema"] + 1},
        {"version": 2},
        {"format": "x"},
        {"stream": {}},
        {"stream": header["stream"] | {"domain": 1}},
        *({"routes": wrong} for wrong in (1, [1], [["acme"]], [["acme", "x", "[]"]], [[1, 1, 1]])),
    ):
        yield json.dumps(header | wrong).encode() + b"\n" + b"".join(lines[1:])
    span = next(number for number, line in enumerate(lines) if b'"table":"span"' in line) + 1
    for row in (b"[]\n", b"x\n", b"[" * 100_000 + b"\n", lines[span].replace(b"900", b"901", 1)):
        yield b"".join([*lines[:span], row, *lines[span + 1 :]])
    yield b"".join([*lines[:span], *lines[span + 1 :]])
    yield text + b"\n"
    yield text + text


@pytest.mark.parametrize("spoil", [cut, changed])
def test_a_file_that_was_cut_or_changed_is_not_imported(
    settled: str, tmp_path: Any, spoil: Callable[[bytes], Iterator[bytes]]
) -> None:
    url = made(f"sqlite:///{tmp_path / 'to.db'}", OTHER)
    before = held(url, OTHER)
    for text in spoil(exported(settled)):
        with pytest.raises(FatalError) as error:
            import_stream(url, io.BytesIO(text))
        assert error.value.code == "export-unusable"
        with pytest.raises(KeyError):
            held(url)
    assert held(url, OTHER) == before
