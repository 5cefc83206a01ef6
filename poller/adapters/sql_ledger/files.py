"""The files around a SQLite ledger: its folder, its modes, and the proof that it was there before."""

import fcntl
import os
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


def beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def make_folder(path: Path) -> None:
    path.parent.mkdir(mode=_FOLDER_OWNER_ONLY, parents=True, exist_ok=True)


def open_private(path: Path) -> int:
    """A file descriptor of the file, for reading and writing; made with mode 0600 where there is none.

    What root makes belongs to the folder's owner, as with SQLite's own files: else a command that root typed would keep
    the service from its ledger.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
    folder = path.parent.stat()
    if os.geteuid() == 0 and folder.st_uid and os.fstat(descriptor).st_uid == 0:
        with suppress(OSError):  # a root that may not, in a container, is left with its own
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor


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


class Birthplace:
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
                raise vanished(self._path)
            if not create:
                raise missing(self._path)
            if self._path.exists() and self._path.stat().st_size:
                raise FatalError(f"{self._path} is no ledger", hint="point [state] url at a file of the ledger's own")
        descriptor = open_private(self._path)
        try:
            if os.fstat(descriptor).st_mode & 0o077:
                os.fchmod(descriptor, OWNER_ONLY)
        finally:
            os.close(descriptor)

    def remember(self) -> None:
        if not os.fstat(self._descriptor).st_size:
            os.write(self._descriptor, _KNOWN)
            os.fsync(self._descriptor)


@contextmanager
def setting_up(path: Path) -> Iterator[Birthplace]:
    """One process at a time.

    Raises:
        TransientError: another process is at it.
    """
    descriptor = open_private(beside(path, ".known"))
    try:
        if not try_lock(descriptor, patience_s=_SETUP_PATIENCE_S):
            raise TransientError(f"ledger {path} is being set up by another process")
        yield Birthplace(path, descriptor)
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


def missing(path: Path) -> FatalError:
    return FatalError(
        f"there is no ledger at {path}", hint="`run` creates it; or point [state] url at the one there is"
    )


def vanished(path: Path) -> FatalError:
    return FatalError(
        f"the ledger {path} was there before and is gone or empty",
        hint="put it or its last backup back; or, to begin a new one with nothing settled, remove "
        f"{beside(path, '.known').name} and {path.name}-wal beside it and set [poll] start",
    )
