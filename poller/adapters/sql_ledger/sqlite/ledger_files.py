"""The files around a SQLite ledger: its folder, its modes, and the marker that it was made.

Beside the database file `ledger.db` stand:

- `ledger.db-wal` and `ledger.db-shm`, which SQLite makes,
- `ledger.db.known`, the marker. It tells a first start from a start after the file was removed,
- `ledger.db.run.lock`, `ledger.db.backfill.lock` and `ledger.db.standby.lock`, see `lock`,
- `ledger.db.events`, the socket of a running daemon, see `event_socket`,
- `ledger.db.v3`, a backup from before a migration, see `backup`.

The database file itself is never opened here. POSIX drops all locks of a process on a file when
the process closes any descriptor of it (https://www.sqlite.org/howtocorrupt.html, section 2.2).
So SQLite would lose its locks without noticing.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from poller.adapters.sql_ledger.errors import LedgerFatalError
from poller.adapters.sql_ledger.local_files.private_files import (
    OWNER_ONLY,
    beside,
    open_private,
)
from poller.core.errors import TransientError

_FOLDER_OWNER_ONLY = 0o700
_SETUP_PATIENCE_S = 5.0
_LOCK_RETRY_S = 0.01
_SMALLEST_DATABASE_BYTES = 512
"""One page of the smallest size. SQLite takes a shorter file for an empty database."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
_MARKER_TEXT = b"A ledger was made here. Remove this file only to begin a new one on purpose.\n"


def make_folder(path: Path) -> None:
    """Make the folder of the ledger, for its owner only, if it is missing."""
    path.parent.mkdir(mode=_FOLDER_OWNER_ONLY, parents=True, exist_ok=True)


def refuse_unfit(path: Path) -> None:
    """Refuse a path that is neither a regular file of its own nor a place where nothing is yet.

    Call this before anything is made or opened. An open of a pipe would wait for ever.

    Raises:
        FatalError: the path is of another kind, holds a text too short for a database, or has a
            second name.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise _no_folder_error(path) from None
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is not None:
        raise not_a_ledger_error(path, f"is {kind} and no ledger")
    if status.st_size and is_empty(path) and not was_known(path):
        raise not_a_ledger_error(path, "is a file, and no ledger")
    if status.st_nlink > 1:
        raise _second_name_error(path)


def refuse_missing(path: Path) -> None:
    """Refuse to go on without a database file.

    Raises:
        FatalError: there is no ledger, or there was one and it is gone.
    """
    if is_empty(path):
        raise gone_error(path) if was_known(path) else missing_error(path)


def can_be_used(path: Path) -> bool:
    """Return whether the database file and its folder exist and may be written to.

    If so, a failure to open them has a passing cause, such as no descriptors or no inodes.
    """
    companions = (beside(path, suffix) for suffix in ("-wal", "-shm", "-journal"))
    files = (path, *(each for each in companions if each.exists() or each.is_symlink()))
    are_usable = all(each.is_file() and os.access(each, os.R_OK | os.W_OK) for each in files)
    return are_usable and os.access(path.parent, os.W_OK | os.X_OK)


def try_lock(descriptor: int, *, patience_s: float, is_shared: bool = False) -> bool:
    """Take the lock on the whole file, and return whether that succeeded within `patience_s`."""
    operation = (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOCK_RETRY_S)
        else:
            return True


class LedgerMarker:
    """The file `LEDGER.known`, locked during the set-up and filled once there is a ledger."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def prepare(self, *, create: bool) -> None:
        """Make the database file with mode 0600 if it is missing.

        Raises:
            FatalError: the file is missing and `create` is false, or there was a ledger and it is
                gone.
        """
        if is_empty(self._path):
            if was_known(self._path):
                raise gone_error(self._path)
            if not create:
                raise missing_error(self._path)
        with suppress(FileExistsError):
            os.mknod(self._path, stat.S_IFREG | OWNER_ONLY)  # makes the file without opening it
        if was_known(self._path):
            _restrict(self._path)

    def remember(self) -> None:
        """Record that there is a ledger, so its loss will be noticed.

        Only now is it known that the file is a ledger. The mode of any other file is left alone.
        """
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                _restrict(beside(self._path, suffix))
        if not os.fstat(self._descriptor).st_size:
            os.write(self._descriptor, _MARKER_TEXT)
            os.fsync(self._descriptor)


@contextmanager
def setting_up(path: Path) -> Iterator[LedgerMarker]:
    """Hold the marker's lock, which lets one process at a time set a ledger up.

    Raises:
        TransientError: another process holds the lock.
    """
    descriptor = open_private(beside(path, ".known"))
    try:
        if not try_lock(descriptor, patience_s=_SETUP_PATIENCE_S):
            raise TransientError(f"ledger {path} is being set up by another process")
        yield LedgerMarker(path, descriptor)
    finally:
        os.close(descriptor)


def was_known(path: Path) -> bool:
    """Return whether a ledger was made here, by the marker or by a write-ahead log."""
    traces = (beside(path, ".known"), beside(path, "-wal"))
    return any(trace.exists() and trace.stat().st_size > 0 for trace in traces)


def is_empty(path: Path) -> bool:
    """Return whether the file is missing, or holds nothing as far as SQLite is concerned.

    A path that is not a regular file is not empty.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(status.st_mode) and status.st_size < _SMALLEST_DATABASE_BYTES


def missing_error(path: Path) -> LedgerFatalError:
    """Return the error for a ledger that was never made."""
    return LedgerFatalError(
        f"there is no ledger at {path}",
        code="ledger-missing",
        hint="`run` creates it; or point [state] url at the one there is",
    )


def gone_error(path: Path) -> LedgerFatalError:
    """Return the error for a ledger that was made and does not exist any more."""
    return LedgerFatalError(
        f"the ledger {path} was there before and is gone or empty",
        code="ledger-gone",
        hint="put it or its last backup back. Only to begin a new one, which does not know what "
        f"was sent: move {beside(path, '.known').name} and {path.name}-wal from {path.parent} into "
        "another folder, and set poll.start",
    )


def not_a_ledger_error(path: Path, why: str) -> LedgerFatalError:
    """Return the error for a path at which something else is."""
    return LedgerFatalError(
        f"{path} {why}",
        code="not-a-ledger",
        hint="set state.url to the path of a file: a ledger, or a name at which nothing is yet, "
        "such as /var/lib/poller/ledger.db",
    )


def _no_folder_error(path: Path) -> LedgerFatalError:
    file = next(each for each in path.parents if each.exists() and not each.is_dir())
    return not_a_ledger_error(path, f"cannot be a ledger, because {file} is no folder")


def _second_name_error(path: Path) -> LedgerFatalError:
    """Return the error for a database file with a second hard link.

    SQLite and our locks go by the name of the file. Under a second name another process could
    write to the same file unnoticed.
    """
    return LedgerFatalError(
        f"the ledger {path} has a second name (a hard link)",
        code="ledger-hard-link",
        hint="two programs could write to it by two names at once: find the other name "
        f"with `find / -xdev -samefile {path}`, and remove it or move the copy elsewhere "
        "with cp",
    )


def _restrict(path: Path) -> None:
    if path.stat().st_mode & 0o077:
        path.chmod(OWNER_ONLY)
