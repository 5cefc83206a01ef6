"""The connection to the ledger's file, and its transactions."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.errors import LedgerFatalError, LedgerHeldError
from poller.adapters.sql_ledger.lock import Holder, Role
from poller.adapters.sql_ledger.schema_version import (
    VERSION,
    OlderLedgerError,
    check_version,
    read_version,
)
from poller.adapters.sql_ledger.sqlite import driver, ledger_files
from poller.adapters.sql_ledger.sqlite.backup import back_up, way_back
from poller.adapters.sql_ledger.sqlite.lock import holder_of, other_holder
from poller.adapters.sql_ledger.sqlite.migrations import migrate
from poller.adapters.sql_ledger.sqlite.verdicts import verdicts


class SqliteDatabase(Database):
    """The connection to the file.

    A writing transaction takes SQLite's write lock at its beginning.
    """

    def __init__(self, path: Path, *, is_read_only: bool = False) -> None:
        super().__init__(driver.engine(path, is_read_only=is_read_only), str(path))
        self.path = path
        self._identity = _identity(path)
        self._kept: Connection | None = None
        """The connection of all transactions. Nothing can end it as a network can.

        To take it from the pool for each transaction would take as long as two of its statements.
        """

    @classmethod
    def open(cls, path: Path, *, create: bool) -> Self:
        """Open the ledger for writing, and bring its schema to the newest version.

        With `create`, make the folder and the file if they are missing. One process at a time
        sets a ledger up.

        Raises:
            LedgerHeldError: a process of an earlier program works on an older ledger.
            TransientError: the ledger is locked, or the disk is full.
            FatalError: the ledger is missing, was removed after it was made, is not writable,
                damaged or no ledger, or was written by a later version.
        """
        with verdicts(path):
            ledger_files.refuse_unfit(path)
            if create:
                ledger_files.make_folder(path)
            else:
                ledger_files.refuse_missing(path)
            with ledger_files.setting_up(path) as marker:
                marker.prepare(create=create)
                database = cls(path)
                try:
                    database._set_up(create=create)
                    marker.remember()
                except BaseException:
                    database.close()
                    raise
                return database

    @classmethod
    def open_read_only(cls, path: Path) -> Self:
        """Open a ledger of the newest version for reading. Change nothing and take no lock.

        Raises:
            TransientError, FatalError: for the same reasons as `open`.
        """
        with verdicts(path):
            ledger_files.refuse_unfit(path)
            ledger_files.refuse_missing(path)
            database = cls(path, is_read_only=True)
            try:
                with database.reading() as connection:
                    _refuse_older(read_version(connection), path)
            except BaseException:
                database.close()
                raise
            return database

    def overwrite_deleted(self, connection: Connection) -> None:
        """Let SQLite overwrite what is deleted from now on."""
        connection.exec_driver_sql("PRAGMA secure_delete = ON")

    def holder_of(self, role: Role) -> Holder | None:
        """Return the process that holds the lock of this role now, or None."""
        with verdicts(self.path):
            return holder_of(self.path, role)

    def _verdicts(self) -> AbstractContextManager[None]:
        return verdicts(self.path)

    def _options(self, *, writes: bool) -> Mapping[str, Any]:
        return {driver.WRITES: writes}

    def _set_up(self, *, create: bool) -> None:
        with self._lock, self._engine.connect() as connection:
            # Check the version before anything is changed.
            with connection.begin():
                version = read_version(connection)
            if version is not None:
                check_version(version, way_back=way_back(self.path, VERSION))
            elif not create:
                raise ledger_files.missing_error(self.path)
            driver.switch_to_wal(connection)
        with self.writing() as connection:
            # This transaction holds the write lock. So the backup is exactly the state that the
            # migration begins with, and no process can change the ledger between the two.
            version = read_version(connection)
            if version is not None and version < VERSION:
                self._refuse_work_of_an_earlier_program(version)
                back_up(self.path, version)
            migrate(connection)
        if version != VERSION:
            # The connection remembers every statement that made the tables, which is 400 KB.
            self._disconnect()

    def _connect(self, options: Mapping[str, Any]) -> AbstractContextManager[Connection]:
        self._kept = self._kept or self._engine.connect()
        return nullcontext(self._kept.execution_options(**options))

    def _disconnect(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        super()._disconnect()

    def _refuse_work_of_an_earlier_program(self, version: int) -> None:
        """Leave the tables as they are while a process works on them that knows no others."""
        holder = other_holder(self.path)
        if holder is not None:
            raise LedgerHeldError(
                f"ledger {self.path} is of version {version}, and {holder} of an earlier program "
                "works on it",
                hint="let that process end, or stop it: then a start brings the ledger to version "
                f"{VERSION}. Nothing was changed",
            )

    def _refuse_unusable(self) -> None:
        """Refuse to go on if the file was moved away: what is written to it then is lost."""
        super()._refuse_unusable()
        if _identity(self.path) != self._identity:
            raise LedgerFatalError(
                f"the ledger {self.path} was moved, removed or replaced while in use",
                code="ledger-replaced",
                hint="put the same file back; if it was replaced on purpose, restart",
            )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _refuse_older(version: int | None, path: Path) -> None:
    if version is None:
        raise ledger_files.missing_error(path)
    check_version(version, way_back=way_back(path, VERSION))
    if version < VERSION:
        raise OlderLedgerError(str(path), version)
