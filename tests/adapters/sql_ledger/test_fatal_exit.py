"""The fatal error that ended the program stands in the ledger until a cycle succeeds."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.fatal_exit import FatalExit, record_fatal_exit
from poller.core.errors import FatalError
from tests.adapters.sql_ledger.ledgers import forwarded, opened, reading, url

WORDS = FatalExit(
    at=datetime(2026, 1, 31, 8, tzinfo=UTC),
    code="segment-request-refused",
    error="Segment answered 401",
    hint="check the key",
)


def test_only_the_last_fatal_exit_is_kept(path: Path) -> None:
    forwarded(path, 1)
    record_fatal_exit(url(path), FatalExit(at=WORDS.at, code="log-empty", error="first", hint="do"))
    record_fatal_exit(url(path), WORDS)
    with reading(path) as reader:
        assert reader.fatal_exit() == WORDS


def test_a_successful_cycle_removes_the_fatal_exit_and_a_failed_one_keeps_it(path: Path) -> None:
    forwarded(path, 1)
    record_fatal_exit(url(path), WORDS)
    for error, left in (("no answer", WORDS), (None, None)):
        with opened(path) as ledger:
            ledger.note_cycle(at=WORDS.at, error=error)
        with reading(path) as reader:
            assert reader.fatal_exit() == left


def test_a_fatal_exit_creates_no_ledger(path: Path) -> None:
    with pytest.raises(FatalError):
        record_fatal_exit(url(path), WORDS)
    assert not path.exists()
