"""One connection to the ledger's file, and its transactions."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection

from poller.adapters.sql_ledger.sqlite import driver, ledger_files
from poller.adapters.sql_ledger.sqlite.backup import back_up
from poller.adapters.sql_ledger.sqlite.ledger_files import LedgerFatalError
from poller.adapters.sql_ledger.sqlite.migrations import (
    OlderLedgerError,
    check_version,
    migrate,
    newest_version,
    read_version,
)
from poller.core.errors import ConflictError, TransientError


class Database:
    """Thread-safe; a transaction that raises leaves nothing behind."""

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        self.path = path
        self._engine = driver.engine(path, is_read_only=is_read_only)
        self._file = _identity(path)
        # Threads queue here: where several wait for SQLite's own lock, one may starve.
        self._lock = threading.RLock()
        self._is_closed = False

    @classmethod
    def open(cls, path: Path, *, create: bool) -> "Database":
        """Sets up what is missing: folder, file, WAL, tables; one process at a time.

        Raises:
            TransientError: locked, disk full.
            FatalError: missing, vanished, not writable, damaged, no ledger, of a later version.
        """
        with driver.verdicts(path):
            ledger_files.refuse_second_name(path)
            if create:
                ledger_files.make_folder(path)
            elif ledger_files.is_empty(path):
                raise (
                    ledger_files.ledger_gone_error(path)
                    if ledger_files.was_known(path)
                    else ledger_files.missing(path)
                )
            with ledger_files.setting_up(path) as birthplace:
                birthplace.prepare(create=create)
                database = cls(path)
                try:
                    database._set_up(create=create)
                    birthplace.remember()
                except BaseException:
                    database.close()
                    raise
                return database

    @classmethod
    def open_read_only(cls, path: Path) -> "Database":
        """Makes, changes and locks nothing.

        Raises:
            TransientError, FatalError: as `open`.
        """
        with driver.verdicts(path):
            ledger_files.refuse_second_name(path)
            if ledger_files.is_empty(path):
                raise (
                    ledger_files.ledger_gone_error(path)
                    if ledger_files.was_known(path)
                    else ledger_files.missing(path)
                )
            database = cls(path, is_read_only=True)
            try:
                with database.reading() as connection:
                    _check_older(read_version(connection), path)
            except BaseException:
                database.close()
                raise
            return database

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """What is read within is of one moment."""
        with self._transaction(writes=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One writer at a time, over all threads and processes; committed at the end."""
        with self._transaction(writes=True) as connection:
            yield connection

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._engine.dispose()

    @contextmanager
    def _transaction(self, *, writes: bool) -> Iterator[Connection]:
        with self._lock, driver.verdicts(self.path):
            self._check_file()
            try:
                options = {driver.WRITES: writes}
                with (
                    self._engine.connect().execution_options(**options) as connection,
                    connection.begin(),
                ):
                    yield connection
            except ConflictError:
                raise
            except BaseException:
                # After a failure the next transaction has a connection of its own.
                self._engine.dispose()
                raise

    def _set_up(self, *, create: bool) -> None:
        with self._lock, self._engine.connect() as connection:
            # Raised before anything is changed.
            with connection.begin():
                found = read_version(connection)
            if found is not None:
                check_version(found)
            elif not create:
                raise ledger_files.missing(self.path)
            driver.switch_to_wal(connection)
        with self.writing() as connection:
            # Nobody else writes from here on, so the backup is what the migration begins with.
            found = read_version(connection)
            if found is not None and found < newest_version():
                back_up(self.path, found)
            migrate(connection)

    def _check_file(self) -> None:
        """What is written to a file that was moved away is lost with it."""
        if self._is_closed:
            raise TransientError(f"ledger {self.path} is closed")
        if _identity(self.path) != self._file:
            raise LedgerFatalError(
                f"the ledger {self.path} was moved, removed or replaced while in use",
                code="ledger-replaced",
                hint="put the same file back; where it was replaced on purpose, restart",
            )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _check_older(found: int | None, path: Path) -> None:
    if found is None:
        raise ledger_files.missing(path)
    check_version(found)
    if found < newest_version():
        raise OlderLedgerError(path, found)
