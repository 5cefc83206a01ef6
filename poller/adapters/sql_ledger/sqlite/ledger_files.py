"""The files around a SQLite ledger: its folder, its modes, and the proof that it was there before."""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from poller.core.errors import FatalError, TransientError

OWNER_ONLY = 0o600
_FOLDER_OWNER_ONLY = 0o700
_SETUP_PATIENCE_S = 5.0
_RETRY_S = 0.01
_SMALLEST_DATABASE = 512  # one page of the least size; SQLite takes anything shorter for empty
_KNOWN = b"A ledger was made here. Remove this file only to begin a new one on purpose.\n"


class LedgerFatalError(FatalError):
    """A fatal error whose message names the ledger's file already."""


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def make_folder(path: Path) -> None:
    path.parent.mkdir(mode=_FOLDER_OWNER_ONLY, parents=True, exist_ok=True)


def open_private(path: Path) -> int:
    """Open a file beside the ledger for reading and writing. Make it with mode 0600 if it is missing.

    Never call this with the database file: closing any descriptor of that file drops SQLite's locks.

    Raises:
        FatalError: the file is a link, has a second name, or is no regular file.
    """
    if path.is_symlink():
        raise _not_our_own(path, "is a link")
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, OWNER_ONLY)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise _not_our_own(path, "has a second name, or is no regular file")
    return descriptor


def refuse_second_name(path: Path) -> None:
    """Raises:
    FatalError: the database file has a second hard link, under which another process could use it unseen.
    """
    with suppress(FileNotFoundError):
        found = path.stat()
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            raise LedgerFatalError(
                f"the ledger {path} has a second name (a hard link)",
                code="ledger-hard-link",
                hint="two programs could write to it by two names at once: find the other name with "
                f"`find / -xdev -samefile {path}`, and remove it or move the copy elsewhere with cp",
            )


def can_be_used(path: Path) -> bool:
    """Return whether the database file and its folder are there and may be written to.

    If so, a failure to open them has a passing cause, such as no descriptors or no inodes.
    """
    beside_it = (beside(path, suffix) for suffix in ("-wal", "-shm", "-journal"))
    ours = (path, *(each for each in beside_it if each.exists() or each.is_symlink()))
    are_usable = all(each.is_file() and os.access(each, os.R_OK | os.W_OK) for each in ours)
    return are_usable and os.access(path.parent, os.W_OK | os.X_OK)


def try_lock(descriptor: int, *, patience_s: float, is_shared: bool = False) -> bool:
    """Whether the lock on the whole file could be had within `patience_s`."""
    operation = (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, operation)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_RETRY_S)
        else:
            return True


class LedgerMarker:
    """The file `LEDGER.known`: locked while a process sets the ledger up, and filled once there is one."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def prepare(self, *, create: bool) -> None:
        """Sees to it that the ledger's file is there, with mode 0600.

        Raises:
            FatalError: there is none and none is to be made, or there was one and it is gone.
        """
        if is_empty(self._path):
            if was_known(self._path):
                raise ledger_gone_error(self._path)
            if not create:
                raise missing(self._path)
            if self._path.exists() and self._path.stat().st_size:
                raise LedgerFatalError(
                    f"{self._path} is no ledger",
                    code="not-a-ledger",
                    hint="point [state] url at a file of the ledger's own",
                )
        with suppress(FileExistsError):
            os.mknod(self._path, stat.S_IFREG | OWNER_ONLY)  # makes it without opening it
        if self._path.stat().st_mode & 0o077:
            self._path.chmod(OWNER_ONLY)

    def remember(self) -> None:
        if not os.fstat(self._descriptor).st_size:
            os.write(self._descriptor, _KNOWN)
            os.fsync(self._descriptor)


@contextmanager
def setting_up(path: Path) -> Iterator[LedgerMarker]:
    """One process at a time.

    Raises:
        TransientError: another process is at it.
    """
    descriptor = open_private(beside(path, ".known"))
    try:
        if not try_lock(descriptor, patience_s=_SETUP_PATIENCE_S):
            raise TransientError(f"ledger {path} is being set up by another process")
        yield LedgerMarker(path, descriptor)
    finally:
        os.close(descriptor)


def was_known(path: Path) -> bool:
    traces = (beside(path, ".known"), beside(path, "-wal"))
    return any(trace.exists() and trace.stat().st_size > 0 for trace in traces)


def is_empty(path: Path) -> bool:
    """Whether the file holds nothing to SQLite, or is not there; what is no file counts as something."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return True
    return path.is_file() and found.st_size < _SMALLEST_DATABASE


def missing(path: Path) -> LedgerFatalError:
    return LedgerFatalError(
        f"there is no ledger at {path}",
        code="ledger-missing",
        hint="`run` creates it; or point [state] url at the one there is",
    )


def ledger_gone_error(path: Path) -> LedgerFatalError:
    return LedgerFatalError(
        f"the ledger {path} was there before and is gone or empty",
        code="ledger-gone",
        hint="put it or its last backup back; or, to begin a new one with nothing settled, remove "
        f"{beside(path, '.known').name} and {path.name}-wal beside it and set [poll] start",
    )


def _not_our_own(path: Path, why: str) -> LedgerFatalError:
    return LedgerFatalError(
        f"the program made no such file: {path} {why}",
        code="ledger-companion-file-unsafe",
        hint="remove it: the program makes it anew",
    )
