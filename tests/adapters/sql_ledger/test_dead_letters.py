"""Dead letters in any number: pages, counts, and queries that never scan the table."""

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from poller.adapters.sql_ledger.dead_letters import DeadLetterStore
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.stream_removal import remove_stream
from poller.adapters.sql_ledger.tables import totals
from poller.cli import program
from poller.core.log_ids import EARLIEST
from tests.adapters.sql_ledger.ledgers import as_of_version, forwarded, opened, shape, url
from tests.builders import page, settlement
from tests.fakes import STREAM, numbered
from tests.paths import ROOT

OTHER = replace(STREAM, source_name="other")
REASONS = ("no_user_id", "refused_by_segment", "unreadable_record")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state/ledger.db"


@contextlib.contextmanager
def graves(path: Path) -> Iterator[DeadLetterStore]:
    graveyard = DeadLetterStore.open(url(path), to_change=True)
    try:
        yield graveyard
    finally:
        graveyard.close()


def bury(path: Path, count: int, *, event: str = "{}", streams: int = 1) -> None:
    """Add dead letters to the ledger, by turns of each stream and each reason."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    rows = (
        (
            1 + number % streams,
            numbered(number // streams),
            "s",
            REASONS[number % len(REASONS)],
            None,
            event,
            (begin + timedelta(seconds=number)).isoformat(timespec="microseconds"),
        )
        for number in range(count)
    )
    names = "stream_id, log_id, type, reason, status, event, dead_lettered_at"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            f"INSERT INTO dead_letter ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            rows,
        )


def counted(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Return the counts that the ledger keeps, and the counts of the rows, without zeros."""
    with contextlib.closing(LedgerReader.open(url(path))) as reader:
        kept = reader.dead_letters_by_reason(STREAM) | reader.totals(STREAM)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        letters = connection.execute(
            "SELECT reason, COUNT(*) FROM dead_letter WHERE stream_id = 1 GROUP BY 1"
        )
        anew: dict[str, int] = dict(letters.fetchall())
        anew |= dict(
            connection.execute(
                "SELECT outcome, SUM(events) FROM hourly_event_count WHERE stream_id = 1 GROUP BY 1"
            )
        )
    return {name: count for name, count in kept.items() if count}, {
        name: count for name, count in anew.items() if count
    }


@settings(max_examples=20)
@given(size=st.integers(1, 9), count=st.integers(0, 20), streams=st.integers(1, 2))
def test_pages_hold_every_letter_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, size: int, count: int, streams: int
) -> None:
    path = tmp_path_factory.mktemp("graves") / "ledger.db"
    forwarded(path, 1)
    SqlLedger.open(url(path), OTHER, create=True, adopt=True).close()
    bury(path, count, streams=streams)
    with graves(path) as graveyard:
        pages = list(graveyard.pages(size=size))
        letters = [letter for page in pages for letter in page]
        assert all(1 <= len(page) <= size for page in pages)
        assert len(letters) == len(set(letters)) == count == graveyard.count()
        assert [letter.log_id for letter in letters] == sorted(letter.log_id for letter in letters)
        for reason in REASONS:
            some = [letter for page in graveyard.pages(size=size, reason=reason) for letter in page]
            assert some == [letter for letter in letters if letter.reason == reason]
            assert len(some) == graveyard.count(reason=reason)
        mine = [letter for page in graveyard.pages(size=size, stream=STREAM) for letter in page]
        assert mine == [letter for letter in letters if letter.stream == STREAM]
        assert len(mine) == graveyard.count(stream=STREAM)


def test_letters_that_go_between_two_pages_skip_none_of_the_rest(path: Path) -> None:
    forwarded(path, 1)
    bury(path, 10)
    with graves(path) as graveyard:
        assert sum(map(graveyard.discard, graveyard.pages(size=3))) == 10
        assert list(graveyard.pages()) == []


def test_ids_are_found_in_any_number(path: Path) -> None:
    forwarded(path, 1)
    bury(path, 3000)
    wanted = [numbered(number) for number in range(0, 3000, 2)]
    with graves(path) as graveyard:
        found = [
            letter.log_id
            for page in graveyard.pages(log_ids=[*wanted, "9" * 56])
            for letter in page
        ]
    assert found == wanted


def test_counts_follow_whatever_changes_a_row(path: Path) -> None:
    with opened(path) as ledger:
        span = ledger.begin(after=EARLIEST)
        span = ledger.settle(settlement(span, page(1, 2, 3)))
        span = ledger.settle(settlement(span, page(14, 15, kind="no_user")))
        kept, anew = counted(path)
        assert kept == anew
        assert kept["no_user_id"] == 2
        bury(path, 9)
        with graves(path) as graveyard:
            (letters,) = graveyard.pages(reason="no_user_id")
            graveyard.discard(letters[:2])
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                "UPDATE dead_letter SET reason = 'too_large' WHERE reason = 'refused_by_segment'"
            )
            connection.execute("UPDATE hourly_event_count SET events = events + 5")
            connection.execute("DELETE FROM hourly_event_count WHERE outcome = 'dead_lettered'")
        kept, anew = counted(path)
        assert kept == anew
        assert kept["too_large"] == 3
        ledger.discard_dead_letters(datetime(2027, 1, 1, tzinfo=UTC))
        kept, anew = counted(path)
        assert kept == anew


def test_a_stream_that_is_removed_takes_its_counts_along(path: Path) -> None:
    forwarded(path, 1)
    bury(path, 3)
    remove_stream(url(path), STREAM, with_spans=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for table in ("event_total", "dead_letter_total", "dead_letter", "hourly_event_count"):
            counting = f"SELECT COUNT(*) FROM {table}"  # noqa: S608 - our own table
        assert connection.execute(counting).fetchone() == (0,)


def test_an_earlier_ledger_is_counted_and_indexed_as_a_new_one(path: Path) -> None:
    forwarded(path, 1)
    bury(path, 7)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        made = shape(connection)
        triggers = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall()
        as_of_version(connection, 3, [(numbered(0), numbered(1), None, None)])
    with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert shape(connection) == made
        again = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall()
        assert sorted(again) == sorted(triggers)
    kept, anew = counted(path)
    assert kept == anew


def test_status_takes_as_long_for_many_letters_as_for_none(path: Path) -> None:
    forwarded(path, 1)
    bury(path, 20_000)
    with (
        contextlib.closing(LedgerReader.open(url(path))) as reader,
        reader._database.reading() as connection,
    ):
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        thousands_of_steps: list[int] = []
        driver.set_progress_handler(lambda: thousands_of_steps.append(1), 1000)
        assert sum(totals.dead_letters_by_reason(connection, 1).values()) == 20_000
        assert totals.events_by_outcome(connection, 1) == {"forwarded": 1}
        driver.set_progress_handler(None, 0)
    assert thousands_of_steps == []


SHOWN = "SELECT log_id, stream_id, type, reason, status, dead_lettered_at FROM dead_letter"
AFTER = "(log_id, stream_id) > ('9', 1) ORDER BY log_id, stream_id LIMIT 1000"
QUERIES = {
    "a page": f"{SHOWN} WHERE {AFTER}",
    "a page of a reason": f"{SHOWN} WHERE reason = 'x' AND {AFTER}",
    "one letter": f"{SHOWN} WHERE log_id IN ('9') ORDER BY log_id, stream_id LIMIT 1000",
    "its event": "SELECT event FROM dead_letter WHERE stream_id = 1 AND log_id = '9'",
    "old ones": "DELETE FROM dead_letter WHERE stream_id = 1 AND dead_lettered_at < '2026'",
}


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_reads_the_whole_table_or_sorts_it(path: Path, query: str) -> None:
    forwarded(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        plan = "; ".join(
            row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {QUERIES[query]}")
        )
    assert "SEARCH dead_letter" in plan
    assert "SCAN" not in plan.replace("SCAN dead_letter USING COVERING INDEX", "")
    assert "TEMP B-TREE" not in plan
    if "page" in query:
        assert "COVERING INDEX dead_letter_in_order" in plan


def listed(path: Path, *options: str) -> str:
    config = path.with_name("config.toml")
    config.write_text(f'[state]\nurl = "{url(path)}"\n')
    ended = CliRunner().invoke(program, ["dead-letters", "list", *options, "--config", str(config)])
    assert ended.exit_code == 0, ended.output
    return ended.output


@pytest.mark.parametrize("count", [0, 1, 3, 2500])
def test_the_list_is_one_json_text_and_names_every_letter(path: Path, count: int) -> None:
    forwarded(path, 1)
    bury(path, count)
    text = listed(path, "--json")
    found = json.loads(text)
    assert text == json.dumps(found, indent=2) + "\n"
    assert [letter["log_id"] for letter in found] == [numbered(number) for number in range(count)]
    lines = listed(path).splitlines()
    assert len(lines) == count + 1
    assert lines[-1].startswith(f"{count:,} dead letter")


@pytest.mark.process
def test_a_long_list_takes_no_more_memory_than_a_short_one(path: Path) -> None:
    forwarded(path, 1)
    bury(path, 20_000, event=json.dumps("x" * 5_000))  # 100 MB of events
    config = path.with_name("config.toml")
    config.write_text(f'[state]\nurl = "{url(path)}"\n')
    # The peak that the parent sees of a child counts the parent's own memory before the exec.
    code = (
        "import atexit, pathlib, sys; from poller.__main__ import main; "
        "status = pathlib.Path('/proc/self/status'); "
        "atexit.register(lambda: sys.stderr.write(status.read_text())); main()"
    )
    command = [
        sys.executable,
        "-c",
        code,
        "dead-letters",
        "list",
        "--json",
        "--config",
        str(config),
    ]
    ended = subprocess.run(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        check=True,
    )
    peak_kb = int(re.search(r"VmHWM:\s+(\d+) kB", ended.stderr)[1])  # type: ignore[index]
    assert peak_kb < 120_000
