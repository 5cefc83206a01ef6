"""The fatal error that ended the program stands in the ledger until a cycle succeeds."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from poller.adapters.sql_ledger.fatal_exit import FatalExit, record_fatal_exit
from poller.adapters.sql_ledger.places import open_database
from poller.core.events import Stream
from tests.adapters.sql_ledger.ledgers import forwarded, opened, reading, url
from tests.fakes import STREAM

WORDS = FatalExit(
    at=datetime(2026, 1, 31, 8, tzinfo=UTC),
    code="segment-request-refused",
    error="Segment answered 401",
    hint="check the key",
)


def record(path: Path, words: FatalExit, stream: Stream = STREAM) -> None:
    with closing(open_database(url(path), change=True)) as database:
        record_fatal_exit(database, stream, words)


def test_only_the_last_fatal_exit_is_kept(path: Path) -> None:
    forwarded(path, 1)
    record(path, replace(WORDS, code="log-empty"))
    record(path, WORDS)
    with reading(path) as reader:
        assert reader.fatal_exit(STREAM) == WORDS


def test_a_successful_cycle_removes_the_fatal_exit_and_a_failed_one_keeps_it(path: Path) -> None:
    forwarded(path, 1)
    record(path, WORDS)
    other = replace(STREAM, source_name="other")
    record(path, WORDS, other)
    for error, left in (("no answer", WORDS), (None, None)):
        with opened(path) as ledger:
            ledger.note_cycle(at=WORDS.at, error=error)
        with reading(path) as reader:
            assert reader.fatal_exit(STREAM) == left
            assert reader.fatal_exit(other) == WORDS
