"""A ledger is backed up before its upgrade, and an older program can continue the backup."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.errors import LedgerHeldError
from poller.adapters.sql_ledger.inspection import inspect_ledger
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import acquire_lock
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.sqlite.migrations import STEPS
from poller.core.errors import FatalError
from tests.adapters.sql_ledger.ledgers import as_of_version, forwarded, opened, reading, url
from tests.fakes import STREAM, numbered

OLD, NEW = 3, 1 + len(STEPS)


@pytest.fixture
def older(path: Path) -> Path:
    """A ledger of version 3 that has settled an event."""
    forwarded(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        as_of_version(connection, OLD, [(numbered(0), numbered(1), None, None)])
    return path


def version(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute("SELECT version FROM ledger_version").fetchone()
    return int(found)


def backup(path: Path) -> Path:
    return path.with_name(f"ledger.db.v{OLD}")


def test_a_backup_is_kept_before_the_schema_is_changed(older: Path) -> None:
    with opened(older) as ledger:
        reached = ledger.live_span()
    assert (version(older), version(backup(older))) == (NEW, OLD)
    assert backup(older).stat().st_mode & 0o777 == 0o600
    assert not list(older.parent.glob("*.part*"))
    assert not list(older.parent.glob("*.v3-*"))
    for suffix in ("", "-wal", "-shm"):
        older.with_name(older.name + suffix).unlink(missing_ok=True)
    backup(older).rename(older)
    assert version(older) == OLD
    with opened(older) as ledger:
        assert ledger.live_span() == reached


def test_an_older_program_names_the_newest_backup_that_it_can_use(older: Path) -> None:
    with opened(older):
        pass
    with contextlib.closing(sqlite3.connect(older)) as connection, connection:
        connection.execute("UPDATE ledger_version SET version = version + 1")
    for name in (f"v{OLD - 1}", f"v{NEW + 1}"):
        older.with_name(f"ledger.db.{name}").touch()
    for open_ledger in (LedgerReader.open, lambda url: SqlLedger.open(url, STREAM, create=False)):
        with pytest.raises(FatalError) as error:
            open_ledger(url(older))
        assert error.value.code == "ledger-too-new"
        assert f"put its backup {backup(older)} in its place" in error.value.hint
    for name in (f"v{OLD - 1}", f"v{OLD}"):
        older.with_name(f"ledger.db.{name}").unlink()
    with pytest.raises(FatalError) as error:
        LedgerReader.open(url(older))
    assert "backup" not in error.value.hint


def test_the_backup_holds_the_rows_that_are_only_in_the_write_ahead_log(older: Path) -> None:
    with contextlib.closing(sqlite3.connect(older)) as writer:
        with writer:
            writer.execute(
                "UPDATE stream SET generation = 'in the log'"
            )  # in -wal, as nobody has closed it
        with contextlib.suppress(FatalError), opened(older):
            pass
    with contextlib.closing(sqlite3.connect(backup(older))) as connection:
        assert connection.execute("SELECT generation FROM stream").fetchall() == [("in the log",)]


def test_without_a_backup_nothing_is_changed(older: Path) -> None:
    backup(older).with_name(
        f"{backup(older).name}.part"
    ).mkdir()  # as a place that cannot be written
    with pytest.raises(FatalError), opened(older):
        pass
    assert version(older) == OLD


def test_a_new_ledger_and_one_of_this_version_need_no_backup(path: Path) -> None:
    for number in (1, 2):
        forwarded(path, number)
    assert not list(path.parent.glob("*.v*"))


def test_a_reader_of_an_older_ledger_is_told_to_start_the_service_first(older: Path) -> None:
    with pytest.raises(
        FatalError, match=f"version 3, and this program reads version {NEW}"
    ) as error:
        LedgerReader.open(url(older))
    assert "start the service" in error.value.hint
    assert "the next start brings it up" in inspect_ledger(url(older), STREAM)
    assert version(older) == OLD


def test_a_reader_can_open_the_ledger_after_the_start_has_upgraded_it(older: Path) -> None:
    ledger = SqlLedger.open(url(older), STREAM, create=True)
    ledger.close()
    with reading(older) as reader:
        assert reader.streams() == (STREAM,)


@pytest.fixture
def earlier(older: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start a process that holds the lock of a role, as an earlier program does."""
    with contextlib.ExitStack() as stack:

        def start(role: str) -> subprocess.Popen[bytes]:
            lines = (
                "import sys; from poller.adapters.sql_ledger.places import acquire_lock",
                f"acquire_lock({url(older)!r}, {role!r}); print('held', flush=True)",
                "sys.stdin.read()",
            )
            process = subprocess.Popen(
                [sys.executable, "-c", "\n".join(lines)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            stack.enter_context(process)
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            return process

        yield start


@pytest.mark.parametrize("role", ["run", "backfill"])
def test_a_ledger_stays_older_while_another_process_works_on_it(
    older: Path, earlier: Callable[[str], subprocess.Popen[bytes]], role: str
) -> None:
    process = earlier(role)
    with pytest.raises(LedgerHeldError) as error, opened(older):
        pass
    assert f"process {process.pid} ({role}, since" in str(error.value)
    assert f"to version {NEW}. Nothing was changed" in error.value.hint
    assert version(older) == OLD
    assert not backup(older).exists()
    process.communicate()
    with opened(older):
        pass
    assert (version(older), version(backup(older))) == (NEW, OLD)


def test_the_locks_of_the_process_itself_do_not_keep_the_ledger_older(older: Path) -> None:
    with acquire_lock(url(older), "run"), acquire_lock(url(older), "backfill"), opened(older):
        assert version(older) == NEW
