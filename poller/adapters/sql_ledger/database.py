"""The one connection to a ledger file, and what its errors mean."""

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.pool import StaticPool

from poller.adapters.sql_ledger.schema import STEPS, VERSION, meta
from poller.core.errors import FatalError, TransientError

BUSY_TIMEOUT_S = 5.0
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM}
_HINTS = {
    sqlite3.SQLITE_READONLY: "make the file and its folder writable for the user that runs this",
    sqlite3.SQLITE_CANTOPEN: "check that the folder is there and that the user that runs this may use it",
    sqlite3.SQLITE_PERM: "check that the user that runs this may read and write it",
    sqlite3.SQLITE_NOTADB: "it is no ledger: point state.url at the right file, or restore a backup",
    sqlite3.SQLITE_CORRUPT: "restore a backup; what it has not settled is sent again under the same message ids",
}


def path_of(url: str) -> Path:
    """The file behind a SQLite URL."""
    return Path(make_url(url).database or "")


def beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


class Database:
    """One connection, shared under one lock: SQLite's own waiting among threads is a lottery."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
        self._engine = sa.create_engine(
            "sqlite://",
            creator=lambda: _connect(uri, read_only=read_only),
            poolclass=StaticPool,
        )
        sa.event.listen(self._engine, "begin", _begin_reading if read_only else _begin_writing)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """All of it or nothing.

        Raises:
            TransientError: locked, disk full, I/O.
            FatalError: read-only, corrupt, no database, not to be opened.
        """
        with self._lock:
            try:
                with self._engine.begin() as connection:
                    yield connection
            except sa.exc.DBAPIError as error:
                raise verdict(self.path, error.orig) from None
            except sqlite3.Error as error:
                raise verdict(self.path, error) from None

    def close(self) -> None:
        with self._lock:
            self._engine.dispose()


def verdict(path: Path, error: BaseException | None) -> TransientError | FatalError:
    """What a database error means; its text may quote values, so only its code is told."""
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary in _PASSING:
        return TransientError(f"the ledger {path} cannot be written now ({name})")
    if primary in _HINTS:
        return FatalError(f"the ledger {path} cannot be used ({name})", hint=_HINTS[primary])
    if isinstance(error, sqlite3.OperationalError | sqlite3.DatabaseError) and primary is not None:
        return FatalError(f"the ledger {path} cannot be used ({name})", hint="restore a backup, or report this")
    return FatalError(f"the ledger {path} cannot be used ({name})", hint="report this")


@contextlib.contextmanager
def setting_up(path: Path) -> Iterator[Path]:
    """One process at a time: the switch to WAL does not honour the busy timeout. Gives the file that marks the ledger
    as known, so that a ledger that is gone is not taken for a first start."""
    known = beside(path, ".known")
    descriptor = os.open(known, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield known
    finally:
        os.close(descriptor)


def migrate(database: Database) -> None:
    """Takes the ledger to this program's version, in one transaction.

    Raises:
        FatalError: it is of a newer version.
    """
    with database.transaction() as connection:
        version = version_of(connection)
        check_version(database.path, version)
        for step in STEPS[version:]:
            step(connection)
        if version < VERSION:
            connection.execute(meta.delete().where(meta.c.key == "version"))
            connection.execute(meta.insert().values(key="version", value=str(VERSION)))


def version_of(connection: sa.Connection) -> int:
    if not sa.inspect(connection).has_table(meta.name):
        return 0
    found = connection.scalar(sa.select(meta.c.value).where(meta.c.key == "version"))
    return int(found or 0)


def check_version(path: Path, version: int) -> None:
    if version > VERSION:
        raise FatalError(
            f"the ledger {path} is of version {version}; this program knows up to {VERSION}",
            hint="upgrade the program, or restore the backup made before the ledger was upgraded",
        )


def _connect(uri: str, *, read_only: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
    if not read_only:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")  # a settled page survives a power cut
            connection.execute("PRAGMA foreign_keys=ON")
        except sqlite3.Error:
            connection.close()
            raise
    return connection


def _begin_writing(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_reading(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")
