"""A process that is stopped keeps its locks. The error of the next one names it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.errors import LedgerHeldError
from poller.adapters.sql_ledger.places import acquire_lock
from poller.adapters.sql_ledger.sqlite import driver, writer
from poller.core.errors import TransientError
from tests.adapters.sql_ledger import ledgers
from tests.paths import ROOT

WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("holds it", flush=True)
sys.stdin.read()
"""
HOLDER = """
import sys
from poller.adapters.sql_ledger.places import acquire_lock
with acquire_lock("sqlite:///" + sys.argv[1], "run"):
    print("holds it", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process, which holds a lock of the ledger."""
    ledgers.forwarded(path, 1)
    process = subprocess.Popen(
        [sys.executable, "-c", request.param, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds it\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def stop(process: subprocess.Popen[str]) -> None:
    """Stop the process, and return once it is stopped."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


@pytest.mark.parametrize("other", [WRITER], indirect=True)
def test_a_locked_ledger_names_the_process_that_writes(
    path: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_S", 0.05)
    with pytest.raises(TransientError) as raised:
        ledgers.forwarded(path, 2)
    assert str(raised.value) == f"ledger {path} is locked by process {other.pid}"
    assert not raised.value.hint
    stop(other)
    with pytest.raises(TransientError) as raised:
        ledgers.forwarded(path, 2)
    assert str(raised.value).endswith(f"is locked by process {other.pid}, which is stopped")
    assert f"`kill -CONT {other.pid}`" in raised.value.hint


@pytest.mark.parametrize("other", [WRITER], indirect=True)
@pytest.mark.parametrize("listed", ["", "1: POSIX ADVISORY WRITE", "1: POSIX ADVISORY WRITE x y"])
def test_a_list_of_locks_that_names_nobody_leaves_the_error_as_it_is(
    path: Path,
    other: subprocess.Popen[str],
    listed: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    assert writer.writer_of(path) == other.pid
    list_of_locks = tmp_path / "locks"
    list_of_locks.write_text(listed)
    monkeypatch.setattr(writer, "_LOCKS", list_of_locks)
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_S", 0.05)
    with pytest.raises(TransientError, match=r"is locked by another process$"):
        ledgers.forwarded(path, 2)


def test_a_process_is_never_told_to_wait_for_itself(path: Path) -> None:
    with ledgers.opened(path) as ledger, ledger._database.writing():
        assert writer.writer_of(path) is None


@pytest.mark.parametrize("other", [HOLDER], indirect=True)
def test_a_second_run_is_told_that_the_first_one_is_stopped(
    path: Path, other: subprocess.Popen[str]
) -> None:
    with pytest.raises(LedgerHeldError, match=r"\(run, since [^)]*\)$") as raised:
        acquire_lock(ledgers.url(path), "run")
    assert not raised.value.hint
    stop(other)
    with pytest.raises(LedgerHeldError, match=r"\(run, since [^)]*\), which is stopped$") as raised:
        acquire_lock(ledgers.url(path), "run")
    assert f"`kill -KILL {other.pid}`" in raised.value.hint
