"""All that is SQLite's alone: how to connect, what its errors mean, its spelling of an upsert."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError

from poller.adapters.sql_ledger.sqlite import ledger_files
from poller.adapters.sql_ledger.sqlite.ledger_files import LedgerFatalError
from poller.core.errors import ConflictError, FatalError, PollerError, TransientError

__all__ = ["engine", "given_path", "ledger_path", "switch_to_wal", "upsert", "verdicts"]

BUSY_TIMEOUT_S = 5.0
WRITES = "poller_writes"

_OUT_OF_MEMORY = "could not be read or written (out of memory)"
_PASSING = {
    sqlite3.SQLITE_BUSY: "is locked by another process",
    sqlite3.SQLITE_LOCKED: "is locked",
    sqlite3.SQLITE_PROTOCOL: "is locked by another process",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full",
    sqlite3.SQLITE_IOERR: "could not be read or written (I/O error; is the disk full?)",
    sqlite3.SQLITE_NOMEM: _OUT_OF_MEMORY,
    sqlite3.SQLITE_INTERRUPT: "was interrupted",
    sqlite3.SQLITE_SCHEMA: "was changed meanwhile",
}
_RESTORE = (
    "stop the program, move the file and those ending in -wal and -shm aside, and put the last backup in its place: "
    "what was settled after the backup is sent again, under the same message ids"
)
_OWNER = "the file and its folder must belong to the user that the program runs as, and be writable"
_LASTING = {
    sqlite3.SQLITE_CORRUPT: "is damaged",
    sqlite3.SQLITE_NOTADB: "is no SQLite database, or a damaged one",
}
_NOT_OPENED = {
    sqlite3.SQLITE_READONLY: ("is read-only", _OWNER),
    sqlite3.SQLITE_PERM: ("may not be opened", _OWNER),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", f"it must be a file that is there; {_OWNER}"),
}
"""SQLite does not tell why. It answers so to a missing right and also to a passing shortage."""
_LASTING_OS = {
    errno.EACCES,
    errno.EEXIST,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENODEV,
    errno.ENOENT,
    errno.ENOSYS,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EROFS,
    errno.ESPIPE,
}
"""What only a person can mend. Anything else passes: no space, no inodes, no descriptors, no memory."""


def ledger_path(url: str) -> Path:
    """Return the file that the URL names, without any link on the way: its locks go by this path.

    Raises:
        FatalError: as `given_path`.
    """
    return Path(os.path.realpath(given_path(url)))


def given_path(url: str) -> Path:
    """Return the path in the URL as it is given, with its links.

    Raises:
        FatalError: it names none, or another kind of database.
    """
    if url.startswith("/"):
        return Path(url)
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise FatalError("state.url is no URL", code="ledger-url-invalid", hint=_WANTED) from None
    if (
        parsed.get_backend_name() != "sqlite"
        or not parsed.database
        or parsed.database == ":memory:"
    ):
        raise FatalError("state.url names no SQLite file", code="ledger-url-invalid", hint=_WANTED)
    return Path(parsed.database).absolute()


_WANTED = "set it to /absolute/path/ledger.db"


def engine(path: Path, *, is_read_only: bool = False) -> Engine:
    """An engine that never creates the file, and whose transactions begin with the lock they need.

    One connection: SQLite takes one writer at a time, threads take turns before it by a lock of ours, and the settings
    of a connection are made once. Should it fail, the pool opens the next.
    """
    mode = "ro" if is_read_only else "rw"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,  # else sqlite3 begins transactions by itself, later and weaker than BEGIN IMMEDIATE
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(
                "PRAGMA synchronous = FULL"
            )  # in WAL, NORMAL loses the last commits with the power
        except BaseException:
            connection.close()
            raise
        return connection

    # Parameters would put events into the text of an error.
    made = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        hide_parameters=True,
    )
    event.listen(made, "begin", _begin)
    return made


def switch_to_wal(connection: Connection) -> None:
    """Makes readers and a writer not wait for each other; for good, and outside of a transaction.

    The switch does not honour the busy timeout, so that one process at a time may do it.

    Raises:
        FatalError: the file system cannot.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - made above
    (mode,) = driver.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise FatalError(
            "it cannot be in WAL mode here",
            code="ledger-filesystem-unsuitable",
            hint="keep it on a local disk, not on a network file system",
        )


@contextmanager
def verdicts(path: Path) -> Iterator[None]:
    """Turns what SQLAlchemy, SQLite and the file system raise into verdicts that name the file."""
    try:
        yield
    except LedgerFatalError:
        raise
    except FatalError as error:
        raise LedgerFatalError(
            f"ledger {path}: {error}", code=error.code, hint=error.hint
        ) from error
    except IntegrityError as error:
        raise ConflictError(f"ledger {path}: another writer was first ({error.orig})") from error
    except DBAPIError as error:
        raise _of_sqlite(path, error.orig) from error
    except sqlite3.Error as error:
        raise _of_sqlite(path, error) from error
    except SQLAlchemyError as error:
        raise TransientError(f"ledger {path} failed ({type(error).__name__})") from error
    except MemoryError as error:  # sqlite3 raises it in place of its own
        raise TransientError(f"ledger {path} {_OUT_OF_MEMORY}") from error
    except OSError as error:
        raise _of_system(path, error) from error


def _of_sqlite(path: Path, error: BaseException | None) -> PollerError:
    # The upper bits of the code tell sub-cases apart.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in _PASSING:
        return TransientError(f"ledger {path} {_PASSING[code]}")
    if code in _NOT_OPENED:
        text, hint = _NOT_OPENED[code]
        if ledger_files.can_be_used(path):
            why = "its rights are in order, so that descriptors, inodes or memory ran out"
            return TransientError(f"ledger {path} {text}: {why}")
        return LedgerFatalError(f"ledger {path} {text}", code="ledger-inaccessible", hint=hint)
    text = _LASTING.get(code, f"failed ({error})")
    return LedgerFatalError(f"ledger {path} {text}", code="ledger-damaged", hint=_RESTORE)


def _of_system(path: Path, error: OSError) -> PollerError:
    reason = error.strerror or type(error).__name__
    where = error.filename or path
    if error.errno in _LASTING_OS:
        return LedgerFatalError(
            f"ledger {path}: {where}: {reason}", code="ledger-inaccessible", hint=_OWNER
        )
    return TransientError(f"ledger {path}: {where}: {reason}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    # A transaction that began by reading cannot wait for the write lock: what it read may be stale by then.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
