"""Verdicts on the errors of SQLite, SQLAlchemy and the file system.

An error is transient if a later attempt can succeed, and fatal if a person has to act.
"""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from poller.adapters.sql_ledger import errors
from poller.adapters.sql_ledger.errors import LedgerFatalError
from poller.adapters.sql_ledger.lock import is_stopped, wake_up
from poller.adapters.sql_ledger.sqlite import ledger_files
from poller.adapters.sql_ledger.sqlite.writer import writer_of
from poller.core.errors import ConflictError, PollerError, TransientError

_TRANSIENT_CODES = {
    sqlite3.SQLITE_BUSY: errors.LOCKED,
    sqlite3.SQLITE_LOCKED: "is locked",
    sqlite3.SQLITE_PROTOCOL: errors.LOCKED,
    sqlite3.SQLITE_FULL: errors.DISK_FULL,
    sqlite3.SQLITE_IOERR: errors.INPUT_OUTPUT,
    sqlite3.SQLITE_NOMEM: errors.OUT_OF_MEMORY,
    sqlite3.SQLITE_INTERRUPT: errors.INTERRUPTED,
    sqlite3.SQLITE_SCHEMA: errors.CHANGED,
}
_DISK_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
ROOM = "nothing is lost: make room on the disk of {folder}, and the work goes on"
_RESTORE = (
    "stop the program, move the file and those ending in -wal and -shm aside, and put the last "
    "backup in its place: what was settled after the backup is sent again, under the same "
    "message ids"
)
_OWNER = "the file and its folder must belong to the user that the program runs as, and be writable"
_WRITABLE = "the file system is read-only: mend its disk, and mount it for writing"
_DAMAGE_CODES = {
    sqlite3.SQLITE_CORRUPT: "is damaged",
    sqlite3.SQLITE_NOTADB: "is damaged: it does not begin as a database does",
}
_OPEN_CODES = {
    sqlite3.SQLITE_READONLY: ("is read-only", _OWNER),
    sqlite3.SQLITE_PERM: ("may not be opened", _OWNER),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", f"it must be a file that is there; {_OWNER}"),
}
"""SQLite answers with these codes to a missing right, and also to a passing shortage of
descriptors, inodes or memory. `can_be_used` tells the two apart."""
_FATAL_ERRNOS = {
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
"""Errors of the system that a person has to mend. Any other is a passing shortage."""


@contextmanager
def verdicts(path: Path) -> Iterator[None]:
    """Turn errors of SQLAlchemy, SQLite and the file system into errors that name the file."""
    try:
        with errors.naming(str(path)):
            yield
    except IntegrityError as error:
        raise ConflictError(f"ledger {path}: another writer was first ({error.orig})") from error
    except DBAPIError as error:
        raise _of_sqlite(path, error.orig) from error
    except sqlite3.Error as error:
        raise _of_sqlite(path, error) from error
    except SQLAlchemyError as error:
        raise TransientError(f"ledger {path} failed ({type(error).__name__})") from error
    except MemoryError as error:  # sqlite3 raises this instead of a sqlite3.Error
        raise TransientError(f"ledger {path} {errors.OUT_OF_MEMORY}") from error
    except OSError as error:
        raise _of_system(path, error) from error


def _of_sqlite(path: Path, error: BaseException | None) -> PollerError:
    # The lower byte is the code. The upper bits only tell sub-cases of it apart
    # (https://www.sqlite.org/rescode.html).
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_BUSY and (pid := writer_of(path)) is not None:
        return _locked_error(path, pid)
    if code in _TRANSIENT_CODES:
        hint = ROOM.format(folder=path.parent) if code in _DISK_CODES else None
        return TransientError(f"ledger {path} {_TRANSIENT_CODES[code]}", hint=hint)
    if code in _OPEN_CODES:
        text, hint = _OPEN_CODES[code]
        if ledger_files.can_be_used(path):
            why = "its rights are in order, so descriptors, inodes or memory ran out"
            return TransientError(f"ledger {path} {text}: {why}")
        return LedgerFatalError(f"ledger {path} {text}", code="ledger-inaccessible", hint=hint)
    if code == sqlite3.SQLITE_NOTADB and not ledger_files.was_known(path):
        return ledger_files.not_a_ledger_error(path, "is a file, and no ledger")
    text = _DAMAGE_CODES.get(code, f"failed ({error})")
    return LedgerFatalError(f"ledger {path} {text}", code="ledger-damaged", hint=_RESTORE)


def _locked_error(path: Path, pid: int) -> TransientError:
    if is_stopped(pid):
        text = f"is locked by process {pid}, which is stopped"
        return TransientError(f"ledger {path} {text}", hint=wake_up(pid))
    return TransientError(f"ledger {path} is locked by process {pid}")


def _of_system(path: Path, error: OSError) -> PollerError:
    message = f"ledger {path}: {error.filename or path}: {error.strerror or type(error).__name__}"
    if error.errno in _FATAL_ERRNOS:
        hint = _WRITABLE if error.errno == errno.EROFS else _OWNER
        return LedgerFatalError(message, code="ledger-inaccessible", hint=hint)
    return TransientError(message)
