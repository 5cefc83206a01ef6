"""The SQLite ledger: its files, its errors, kills, and the methods beside the port."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from poller.adapters.sql_ledger.dead_letters import DeadLetterStore
from poller.adapters.sql_ledger.errors import LedgerHeldError
from poller.adapters.sql_ledger.inspection import inspect_ledger
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import acquire_lock
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.schema_version import check_version
from poller.adapters.sql_ledger.sqlite.database import SqliteDatabase
from poller.adapters.sql_ledger.sqlite.migrations import STEPS, migrate
from poller.adapters.sql_ledger.tables.spans import insert_span
from poller.adapters.sql_ledger.tables.stretches import leave_unread
from poller.core.errors import ConflictError, FatalError, TransientError
from poller.core.events import parse_events
from poller.core.log_ids import EARLIEST, LogId, floor_id
from poller.core.messages import Delivery
from poller.core.outcomes import Calls
from poller.core.pages import Page
from poller.core.settlement import build_settlement
from poller.core.spans import Gap, SecondReading, Span
from tests.adapters.sql_ledger.ledgers import (
    LATER,
    VERSION_4,
    as_of_version,
    forwarded,
    opened,
    reading,
    said,
    shape,
    url,
)
from tests.builders import file_mark as mark
from tests.builders import (
    file_page,
    file_settlement,
    live_of,
    page,
    record,
    settlement,
    taken,
)
from tests.fakes import NOW, STREAM, numbered
from tests.paths import ROOT

OTHER = replace(STREAM, source_name="other")


# Files


def test_the_ledger_and_its_folder_are_the_owners_alone(path: Path) -> None:
    forwarded(path, 1)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == {
        file.name: "0o600" for file in path.parent.iterdir()
    }


def test_a_ledger_that_others_could_read_is_closed_to_them(path: Path) -> None:
    forwarded(path, 1)
    path.chmod(0o644)
    forwarded(path, 2)
    assert path.stat().st_mode & 0o777 == 0o600


def test_commits_are_durable_and_readers_do_not_wait(path: Path) -> None:
    with opened(path) as ledger, ledger._database.writing() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        with reading(path) as reader:
            assert reader.streams() == (STREAM,)


def test_a_connection_that_made_the_tables_is_closed_with_all_that_it_remembers(
    path: Path,
) -> None:
    def database() -> SqliteDatabase:
        return SqliteDatabase.open(path, create=True)

    with closing(database()) as first:
        assert first._kept is None
    with closing(database()) as second:
        assert second._kept is not None


def test_a_missing_ledger_is_created_only_on_request(path: Path) -> None:
    with pytest.raises(FatalError, match="there is no ledger"), opened(path, create=False):
        pass
    assert not path.exists()


@pytest.mark.parametrize("leftover", ["gone", "empty", "torn"])
def test_a_ledger_that_vanished_is_not_begun_anew(path: Path, leftover: str) -> None:
    forwarded(path, 1)
    path.unlink()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    if leftover == "empty":
        path.touch()
    if leftover == "torn":
        path.write_bytes(b"SQLite format 3")
    with pytest.raises(FatalError, match="was there before") as error, opened(path):
        pass
    assert "backup" in error.value.hint
    with pytest.raises(FatalError, match="was there before"):
        LedgerReader.open(url(path))


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to look like one " * 40, b"x"]
)
def test_a_file_that_is_no_database_is_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(FatalError) as error, opened(path):
        pass
    assert str(path) in said(error.value)
    assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(FatalError, match="not a ledger") as error, opened(path):
        pass
    assert str(path) in str(error.value)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]


def test_a_damaged_ledger_says_so_and_how_to_go_on(path: Path) -> None:
    with opened(path) as ledger:
        span = ledger.begin(after=EARLIEST)
        for start in range(1, 2000, 100):
            span = ledger.settle(settlement(span, page(*range(start, start + 100))))
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(FatalError, match="damaged") as error, opened(path) as ledger:
        ledger.spans()
    assert "backup" in error.value.hint
    assert str(path) in str(error.value)


WITHOUT_RIGHTS_OF_ROOT = ("setpriv", "--inh-caps=-all", "--bounding-set=-all", "--")
"""A wrapper for a command of root. Root keeps its files and cannot pass over their modes."""


@pytest.mark.process
def test_the_error_names_a_folder_that_is_read_only(path: Path) -> None:
    path.parent.mkdir(mode=0o500)
    script = textwrap.dedent(f"""
        from poller.adapters.sql_ledger.ledger import SqlLedger
        from poller.core.errors import FatalError
        from tests.fakes import STREAM
        try:
            SqlLedger.open({url(path)!r}, STREAM, create=True)
        except FatalError as error:
            print(error, error.hint)
    """)
    wrapper = WITHOUT_RIGHTS_OF_ROOT if os.geteuid() == 0 else ()
    command = [*wrapper, sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert str(path) in ended.stdout


def test_a_full_disk_is_transient_and_leaves_the_old_state(path: Path) -> None:
    forwarded(path, 1)
    with opened(path) as ledger:
        before = live_of(ledger)
        assert before is not None
        with ledger._database.reading() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        many = page(*range(2, 3000))
        with pytest.raises(TransientError, match="disk is full") as raised:
            ledger.settle(settlement(before, many))
        assert f"make room on the disk of {path.parent}" in raised.value.hint
        assert ledger.live_span() == before
        assert ledger.settle(settlement(before, many)).reached == numbered(
            2999
        )  # there is room again


def test_a_locked_ledger_is_transient(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poller.adapters.sql_ledger.sqlite.driver.BUSY_TIMEOUT_S", 0.05)
    forwarded(path, 1)
    with opened(path) as ledger:
        span = live_of(ledger)
        assert span is not None
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(TransientError, match="locked"):
                ledger.settle(settlement(span, page(2)))
        assert ledger.settle(settlement(span, page(2))).reached == numbered(2)


def test_a_file_that_was_moved_away_takes_nothing_more(path: Path) -> None:
    forwarded(path, 1)
    with opened(path) as ledger:
        span = live_of(ledger)
        assert span is not None
        path.rename(path.with_name("moved.db"))
        with pytest.raises(FatalError, match="moved, removed or replaced"):
            ledger.settle(settlement(span, page(2)))
        path.with_name("moved.db").rename(path)
        ledger.settle(settlement(span, page(2)))


# Versions


def test_a_later_version_is_refused_and_nothing_changed(path: Path) -> None:
    forwarded(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE ledger_version SET version = 99")
    with pytest.raises(FatalError, match="version 99") as error, opened(path):
        pass
    assert "upgrade" in error.value.hint
    with pytest.raises(FatalError, match="version 99"):
        LedgerReader.open(url(path))


@pytest.mark.parametrize("version", LATER)
def test_a_ledger_of_an_earlier_version_is_brought_up_and_is_as_a_new_one(
    path: Path, version: int
) -> None:
    forwarded(path, 1)
    with reading(path) as reader:
        counted = reader.counts(STREAM, NOW - timedelta(days=1), NOW + timedelta(days=1)).tallies
    assert counted
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        made = shape(connection)
        confirmed = numbered(1) if version == VERSION_4 else None
        as_of_version(connection, version, [(numbered(0), numbered(1), None, confirmed)])
    with opened(path) as ledger:
        assert ledger.last_fingerprints(["a"]) == {}
        live = ledger.live_span()
        assert live is not None
        assert (live.reached, live.confirmed) == (numbered(1), numbered(1))
    with reading(path) as reader:
        assert (
            reader.counts(STREAM, NOW - timedelta(days=1), NOW + timedelta(days=1)).tallies
            == counted
        )
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert shape(connection) == made
        assert connection.execute("SELECT version FROM ledger_version").fetchone() == (
            1 + len(STEPS),
        )


FIRST_HOUR = floor_id(datetime(2026, 11, 20, 11, tzinfo=UTC))
"""The hour of the one event that `forwarded` counts."""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Finished spans that touch are joined. An unfinished one is not.
        (
            [(1, 2, 2, None), (2, 4, 4, None), (4, 5, 6, None), (6, 9, None, 7)],
            [(1, 5, 6, 5), (6, 9, None, 7)],
        ),
        ([(1, 2, 2, None), (2, 4, 4, None), (4, 9, None, 4)], [(1, 9, None, 4)]),
        # A live span that settled nothing from below all ids begins anew.
        ([(EARLIEST, EARLIEST, None, None)], []),
        # One that settled something claims no more than was counted.
        ([(EARLIEST, 9, None, EARLIEST)], [(FIRST_HOUR, 9, None, FIRST_HOUR)]),
    ],
)
def test_spans_of_version_3_are_brought_up(path: Path, before: list[Any], after: list[Any]) -> None:
    def bounds(rows: list[Any]) -> list[tuple[str | None, ...]]:
        return [
            tuple(numbered(each) if isinstance(each, int) else each for each in row) for row in rows
        ]

    forwarded(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        as_of_version(connection, 3, bounds(before))
    with opened(path) as ledger:
        found = [(span.after, span.reached, span.until, span.confirmed) for span in ledger.spans()]
    assert found == bounds(after)


def test_counts_of_1970_are_moved_to_the_newest_hour_of_their_stream(path: Path) -> None:
    forwarded(path, 1)
    old, other = "1970-01-01T00:00:00.000000+00:00", "INSERT INTO stream VALUES (2, 'b', 'b', '')"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        as_of_version(connection, 3, [(numbered(0), numbered(1), None, None)])
        (newest,) = connection.execute("SELECT MAX(hour) FROM tally").fetchone()
        connection.execute(other)
        row = "INSERT INTO tally VALUES (?, ?, '', 'dead_lettered', ?)"
        connection.executemany(row, [(1, old, 2), (1, newest, 3), (2, old, 4)])
    with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "SELECT stream_id, hour, events FROM hourly_event_count WHERE type = ''"
        ).fetchall()
        oldest = connection.execute("SELECT MIN(hour) FROM hourly_event_count").fetchone()
        assert oldest == (newest,)
    assert found == [(1, newest, 5)]


def test_the_counts_of_a_file_are_kept_apart_from_those_of_the_log(path: Path) -> None:
    """Settle the events of an archive, which the daemon reads too or which is years old."""
    with opened(path) as ledger:
        ledger.settle_file(file_settlement(file_page(mark(100), 1, 2)))
    with reading(path) as reader:
        counts = reader.counts(STREAM, NOW - timedelta(days=1), NOW + timedelta(days=1))
        assert (counts.tallies, reader.record(STREAM).first_hour) == ({}, None)
        assert reader.totals(STREAM)["forwarded"] == 2
    forwarded(path, 1, 2)
    with reading(path) as reader:
        counts = reader.counts(STREAM, NOW - timedelta(days=1), NOW + timedelta(days=1))
        assert list(counts.tallies.values()) == [2]
        assert reader.totals(STREAM)["forwarded"] == 4


def test_a_dead_letter_of_a_file_that_is_revived_moves_in_the_counts_of_files(path: Path) -> None:
    with opened(path) as ledger:
        ledger.settle_file(file_settlement(file_page(mark(100), 1, kind="bad_date")))
    graveyard = DeadLetterStore.open(url(path), to_change=True)
    ((letter,),) = graveyard.pages()
    (event,) = parse_events([json.loads(graveyard.events([letter])[letter])], after=EARLIEST)
    assert graveyard.mark_replayed(STREAM, [(letter, event, ["Logged In"])], (), NOW) == 1
    graveyard.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "SELECT outcome, origin, events FROM hourly_event_count WHERE events != 0"
        ).fetchall()
        sent = connection.execute(
            "SELECT track_name, origin, tracks FROM hourly_track_count"
        ).fetchall()
    assert found == [("forwarded", "file", 1)]
    assert sent == [("Logged In", "file", 1)]


def test_fingerprints_are_forgotten_by_age_and_by_number(path: Path) -> None:
    with opened(path) as ledger:
        live = ledger.begin(after=numbered(0))
        for number in range(1, 6):
            read = Page(
                events=(),
                position=numbered(number),
                is_end=True,
                served_at=NOW + timedelta(days=number),
            )
            done = build_settlement(live, read, Calls(), Delivery())
            live = ledger.settle(replace(done, fingerprints={f"k{number}": "f"}))
        keys = [f"k{number}" for number in range(1, 6)]
        assert ledger.forget_last_sent(NOW + timedelta(days=2), keep=10) == 1
        assert sorted(ledger.last_fingerprints(keys)) == keys[1:]
        assert ledger.forget_last_sent(NOW, keep=2) == 2
        assert sorted(ledger.last_fingerprints(keys)) == keys[3:]


def test_an_earlier_version_is_brought_up_in_one_transaction(path: Path) -> None:
    forwarded(path, 1)
    with opened(path) as ledger:

        def add_column(connection: object) -> None:
            connection.exec_driver_sql("ALTER TABLE gap ADD COLUMN note TEXT")

        def fail(connection: object) -> None:
            del connection
            raise RuntimeError("half-way")

        with pytest.raises(RuntimeError), ledger._database.writing() as connection:
            migrate(connection, steps=(*STEPS, add_column, fail))
        with ledger._database.reading() as connection:
            columns = [row[1] for row in connection.exec_driver_sql("PRAGMA table_info(gap)")]
            assert "note" not in columns
        with ledger._database.writing() as connection:
            migrate(connection, steps=(*STEPS, add_column))
        with ledger._database.reading() as connection:
            assert connection.exec_driver_sql(
                "SELECT version FROM ledger_version"
            ).scalar() == 2 + len(STEPS)
        live = ledger.live_span()
        assert live is not None
        assert live.reached == numbered(1)
    with pytest.raises(FatalError, match="version 2"):
        check_version(2, known=1)


# Streams


def test_another_stream_never_continues_a_ledger(path: Path) -> None:
    forwarded(path, 1)
    with pytest.raises(FatalError, match="only other streams") as error:
        SqlLedger.open(url(path), OTHER, create=True)
    assert all(
        part in said(error.value)
        for part in (str(path), "web", "other", "--new-stream", "write_key")
    )
    other = SqlLedger.open(url(path), OTHER, create=True, adopt=True)
    try:
        assert other.live_span() is None
        other.begin(after=EARLIEST)
    finally:
        other.close()
    with opened(path) as ledger:
        live = ledger.live_span()
        assert live is not None
        assert live.reached == numbered(1)


def test_a_stream_that_has_settled_nothing_is_renamed_and_keeps_its_start(path: Path) -> None:
    with opened(path) as ledger:
        ledger.begin(after=numbered(7))
    assert inspect_ledger(url(path), OTHER)
    other = SqlLedger.open(url(path), OTHER, create=True)
    try:
        live = other.live_span()
        assert live is not None
        assert (live.after, live.stream) == (numbered(7), OTHER)
    finally:
        other.close()
    with reading(path) as reader:
        assert reader.streams() == (OTHER,)
    elsewhere = replace(STREAM, domain="other.eu.auth0.com")
    with pytest.raises(FatalError, match="only other streams"):
        SqlLedger.open(url(path), elsewhere, create=True)


# Kills


@pytest.mark.process
def test_a_kill_leaves_whole_pages(path: Path) -> None:
    script = textwrap.dedent(f"""
        import sys
        from poller.adapters.sql_ledger.ledger import SqlLedger
        from poller.core.log_ids import EARLIEST
        from tests.builders import live_of, page, settlement
        from tests.fakes import STREAM
        ledger = SqlLedger.open({url(path)!r}, STREAM, create=True)
        span = live_of(ledger) or ledger.begin(after=EARLIEST)
        number = int(span.reached[-10:])
        while True:
            span = ledger.settle(settlement(span, page(*range(number + 1, number + 11))))
            number += 10
            print(number, flush=True)
    """)
    told = 0
    for kill in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert process.stdout is not None
        for _ in range(3 + 7 * kill):
            told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        told = max([told, *(int(line) for line in process.stdout.read().split() if line.isdigit())])
        process.wait()
        process.stdout.close()
        with reading(path) as reader:
            (span,) = reader.spans(STREAM)
            number = int(span.reached[-10:])
            assert number in {
                told,
                told + 10,
            }  # what was told is there; at most one more was on its way
            assert reader.totals(STREAM)["forwarded"] == number


# Locks


def test_a_second_holder_is_told_who_the_first_is(path: Path) -> None:
    with acquire_lock(url(path), "run"):
        with pytest.raises(LedgerHeldError) as error:
            acquire_lock(url(path), "run")
        assert f"process {os.getpid()}" in str(error.value)
        acquire_lock(url(path), "backfill").close()
        forwarded(path, 1)
        with reading(path) as reader:
            holder = reader.holder()
            assert holder is not None
            assert holder.pid == os.getpid()
    with reading(path) as reader:
        assert reader.holder() is None
    acquire_lock(url(path), "run").close()


@pytest.mark.process
def test_a_lock_dies_with_its_process(path: Path) -> None:
    script = f"""
import time
from poller.adapters.sql_ledger.places import acquire_lock
held = acquire_lock({url(path)!r}, "run")
print("held", flush=True)
time.sleep(3600)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LedgerHeldError, match=f"process {process.pid}"):
        acquire_lock(url(path), "run")
    process.kill()
    process.wait()
    process.stdout.close()
    acquire_lock(url(path), "run").close()


# What is recorded


def test_dead_letters_and_gaps_land_with_the_page(path: Path) -> None:
    lost = Gap(after=numbered(0), before=numbered(5))
    read = replace(page(6, 7, kind="no_user"), lost=lost)
    with opened(path) as ledger:
        span = ledger.begin(after=numbered(0))
        ledger.settle(settlement(span, read))
    with reading(path) as reader:
        assert reader.dead_letters_by_reason(STREAM) == {"no_user_id": 2}
        assert reader.gaps(STREAM) == (lost,)
        assert reader.totals(STREAM)["dead_lettered"] == 2


@pytest.mark.parametrize("odd", ["\ud800", "\x00", "日本", "x" * 100_000])
def test_odd_text_in_a_dead_letter_stops_nothing(path: Path, odd: str) -> None:
    events = parse_events([record(1, "no_user") | {"type": "s", "user_name": odd}], after=EARLIEST)
    read = Page(events=events, position=numbered(1), is_end=True, served_at=NOW)
    with opened(path) as ledger:
        ledger.settle(settlement(ledger.begin(after=EARLIEST), read))
    with reading(path) as reader:
        assert sum(reader.dead_letters_by_reason(STREAM).values()) == 1


@pytest.mark.parametrize("seen", [(5, 9), (9, 5)])
def test_a_gap_that_is_seen_again_from_the_same_position_grows_and_never_shrinks(
    path: Path, seen: tuple[int, int]
) -> None:
    with opened(path) as ledger:
        span = ledger.begin(after=numbered(0))
        for before in seen:
            empty = replace(
                page(1),
                events=(),
                position=span.reached,
                lost=Gap(after=numbered(0), before=numbered(before)),
            )
            span = ledger.settle(settlement(span, empty))
    with reading(path) as reader:
        assert reader.gaps(STREAM) == (Gap(after=numbered(0), before=numbered(9)),)


def test_the_journal_keeps_since_when_it_is_blocked(path: Path) -> None:
    moments = iter([NOW, NOW, NOW + timedelta(hours=1), NOW + timedelta(hours=2)])
    ledger = SqlLedger.open(url(path), STREAM, create=True, now=lambda: next(moments))
    try:
        ledger.note_blocked(FatalError("why", code="log-empty", hint="do"))
        ledger.note_blocked(FatalError("why", code="log-empty", hint="do"))
        ledger.note_cycle(at=NOW, error="later")
        with reading(path) as reader:
            journal = reader.daemon_status(STREAM)
            assert (journal.blocked_since, journal.blocked_code) == (NOW, "log-empty")
            assert (journal.blocked_reason, journal.cycle_error) == ("why", "later")
        ledger.note_blocked(None)
        with reading(path) as reader:
            assert reader.daemon_status(STREAM).blocked_since is None
    finally:
        ledger.close()


def test_a_page_that_reaches_into_another_span_is_refused(path: Path) -> None:
    with opened(path) as ledger:
        live = ledger.begin(after=numbered(0))
        with ledger._database.writing() as connection:
            other = Span.unsettled(STREAM, after=numbered(2), until=numbered(9))
            insert_span(connection, ledger._stream_id, other)
        with pytest.raises(ConflictError, match="overlaps"):
            ledger.settle(settlement(live, page(3)))
        assert ledger.settle(settlement(live, page(1))).reached == numbered(1)


# The second reading


def second_reading(ledger: SqlLedger, until: LogId) -> SecondReading:
    live = ledger.live_span()
    assert live is not None
    return live.second_reading(until)


def test_the_second_reading_leaves_out_settled_events_and_finds_late_arrivals(path: Path) -> None:
    with opened(path) as ledger:
        live = ledger.begin(after=numbered(0))
        ledger.settle(settlement(live, page(2, 4, 6)))
        second = second_reading(ledger, numbered(6))
        asked = [numbered(n) for n in (1, 2, 3, 4)]
        assert ledger.not_settled(second, asked) == {numbered(1), numbered(3)}
        moved = ledger.settle(settlement(second, page(3, position=5)))
        assert (type(moved), moved.reached) == (SecondReading, numbered(5))
        after = ledger.live_span()
        assert after is not None
        assert (after.reached, after.confirmed) == (numbered(6), numbered(5))
        assert ledger.not_settled(second_reading(ledger, numbered(6)), [numbered(3)]) == frozenset()
        with pytest.raises(ConflictError):
            ledger.settle(settlement(second, page(3, position=5)))
        with pytest.raises(ConflictError, match="is beyond the first"):
            ledger.settle(settlement(second_reading(ledger, numbered(9)), page(8)))


def test_a_second_reading_without_a_believed_time_is_refused(path: Path) -> None:
    with opened(path) as ledger:
        live = ledger.begin(after=numbered(0))
        ledger.settle(settlement(live, page(2, 4, 6)))
        read = replace(page(3), believed_at=None)
        with pytest.raises(ConflictError):
            ledger.settle(settlement(second_reading(ledger, numbered(6)), read))


def test_an_unread_stretch_without_a_believed_time_is_refused(path: Path) -> None:
    with opened(path) as ledger:
        with ledger._database.writing() as connection:
            leave_unread(connection, ledger._stream_id, numbered(1), numbered(6))
        (stretch,) = ledger.unread_stretches()
        with pytest.raises(ConflictError):
            ledger.settle(settlement(stretch, replace(page(3), believed_at=None)))
        assert ledger.unread_stretches() == (stretch,)


def recent_ids(ledger: SqlLedger) -> list[str]:
    with ledger._database.reading() as connection:
        return list(connection.exec_driver_sql("SELECT log_id FROM recent_id ORDER BY 1").scalars())


def test_an_id_is_kept_while_it_is_not_confirmed(path: Path) -> None:
    with opened(path) as ledger:
        live = ledger.begin(after=numbered(0))
        ledger.settle(settlement(live, page(2, 4, 6)))
        ledger.settle(settlement(second_reading(ledger, numbered(6)), page(3, position=5)))
        assert ledger.forget_ids() == 2
        assert recent_ids(ledger) == [numbered(6)]


def test_an_id_in_an_unread_stretch_is_kept_until_the_stretch_is_read(path: Path) -> None:
    with opened(path) as ledger:
        bounded = ledger.begin(after=numbered(0), until=numbered(9))
        ledger.settle(settlement(bounded, page(2, 4, 6, position=9)))
        assert ledger.forget_ids() == 0
        (stretch,) = ledger.unread_stretches()
        assert (stretch.reached, stretch.until) == (numbered(0), numbered(9))
        stretch = taken(ledger, stretch)
        half = ledger.settle(settlement(stretch, page(3, position=5)))
        # The live span, which the finished one does not touch, has nothing to do with it.
        assert ledger.forget_ids() == 2
        with pytest.raises(ConflictError):
            ledger.settle(settlement(stretch, page(3, position=5)))
        ledger.settle(settlement(half, page(7, position=9)))
        assert ledger.unread_stretches() == ()
        assert (ledger.forget_ids(), recent_ids(ledger)) == (1, [])


def test_an_id_of_an_unfinished_span_is_kept(path: Path) -> None:
    with opened(path) as ledger:
        bounded = ledger.begin(after=numbered(0), until=numbered(9))
        ledger.settle(settlement(bounded, page(2, 4)))
        assert ledger.forget_ids() == 0


def test_unread_stretches_never_overlap(path: Path) -> None:
    with opened(path) as ledger:
        with ledger._database.writing() as connection:
            for at, until in ((5, 8), (2, 4), (1, 10), (3, 9)):
                leave_unread(connection, ledger._stream_id, numbered(at), numbered(until))
        found = [(each.reached, each.until) for each in ledger.unread_stretches()]
        edges = [numbered(n) for n in (1, 2, 4, 5, 8, 10)]
        assert found == list(pairwise(edges))


# A first start


def test_a_backfill_leaves_where_a_first_start_goes_on(path: Path) -> None:
    with opened(path) as ledger:
        assert ledger.backfilled_until() is None
        ledger.note_backfilled_until(numbered(9))
    with opened(path) as ledger:
        assert ledger.backfilled_until() == numbered(9)
        ledger.begin(after=numbered(9))
        assert ledger.backfilled_until() is None


# check


def test_check_makes_nothing_and_says_what_there_is(path: Path) -> None:
    assert inspect_ledger(url(path), STREAM).startswith("none yet")
    assert not path.parent.exists()
    forwarded(path, 1)
    assert "at 2026-11-20 12:00:00Z" in inspect_ledger(url(path), STREAM)
    with pytest.raises(FatalError, match="only other streams"):
        inspect_ledger(url(path), OTHER)


def test_times_are_kept_in_utc(path: Path) -> None:
    with opened(path) as ledger:
        ledger.note_cycle(at=datetime(2026, 1, 1, tzinfo=UTC), error=None)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (text,) = connection.execute("SELECT cycle_at FROM daemon_status").fetchone()
    assert text == "2026-01-01T00:00:00.000000+00:00"
