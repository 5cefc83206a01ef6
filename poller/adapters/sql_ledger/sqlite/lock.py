"""The lock on a file beside a SQLite ledger.

The lock is a flock. The kernel frees it when its process ends, even after a kill. The file names
the process that holds the lock.
"""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Self

from poller.adapters.sql_ledger.errors import LedgerHeldError
from poller.adapters.sql_ledger.local_files.private_files import (
    beside,
    open_private,
    refuse_unsafe_companions,
)
from poller.adapters.sql_ledger.lock import ROLES, Holder, LedgerLock, Role
from poller.adapters.sql_ledger.sqlite import ledger_files
from poller.adapters.sql_ledger.sqlite.verdicts import verdicts

_PATIENCE_S = 0.2
"""`status` takes the lock for a moment to see whether it is free. A start waits for that long."""
_LONGEST_TEXT_BYTES = 100
_held: set[tuple[Path, Role]] = set()
"""The locks of this process. To `flock`, a process is a stranger to its own locks.

The number of a process does not tell: two containers that share a volume can both have number 1.
"""


class FileLock(LedgerLock):
    """A lock that is held until it is closed."""

    def __init__(self, descriptor: int, path: Path, role: Role) -> None:
        self._descriptor: int | None = descriptor
        self._key = (path, role)

    @classmethod
    def acquire(cls, path: Path, role: Role, now: Callable[[], datetime]) -> Self:
        """Take the lock. Make the ledger's folder if it is missing. The ledger need not exist.

        Raises:
            LedgerHeldError: another process holds the lock, and the message names it.
            FatalError: the lock file cannot be written.
        """
        with verdicts(path):
            ledger_files.refuse_unfit(path)
            ledger_files.make_folder(path)
            descriptor = open_private(_lock_file(path, role))
            try:
                if not ledger_files.try_lock(descriptor, patience_s=_PATIENCE_S):
                    raise _held_error(path, descriptor, role)  # noqa: TRY301 - closed below
                os.ftruncate(descriptor, 0)
                text = f"{os.getpid()} {now().isoformat(timespec='seconds')}\n"
                os.pwrite(descriptor, text.encode(), 0)
            except BaseException:
                os.close(descriptor)
                raise
            _held.add((path, role))
            return cls(descriptor, path, role)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            # The file stays. If it were removed, a process that opened it before and another one
            # that makes it anew could hold a lock each, on two files of one name.
            _held.discard(self._key)
            os.close(descriptor)


def holder_of(path: Path, role: Role) -> Holder | None:
    """Return the process that holds the lock now, or None. Leave no file behind.

    Raises:
        OSError: the lock file cannot be read.
        FatalError: the lock file is not a file that the program made. A pipe would never open.
    """
    refuse_unsafe_companions(path, (f".{role}.lock",))
    try:
        descriptor = os.open(_lock_file(path, role), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if ledger_files.try_lock(descriptor, patience_s=0, is_shared=True):
            return None
        return _read_holder(descriptor, role)
    finally:
        os.close(descriptor)


def other_holder(path: Path) -> Holder | None:
    """Return another process that works on the ledger now, or None.

    Raises:
        OSError, FatalError: as `holder_of`.
    """
    others = (role for role in ROLES if (path, role) not in _held)
    return next(filter(None, (holder_of(path, role) for role in others)), None)


def _lock_file(path: Path, role: Role) -> Path:
    return beside(path, f".{role}.lock")


def _read_holder(descriptor: int, role: Role) -> Holder:
    try:
        pid, since = os.pread(descriptor, _LONGEST_TEXT_BYTES, 0).decode().split()
        return Holder(role=role, pid=int(pid), since=datetime.fromisoformat(since))
    except ValueError:
        return Holder(role=role, pid=None, since=None)


def _held_error(path: Path, descriptor: int, role: Role) -> LedgerHeldError:
    holder = _read_holder(descriptor, role)
    return LedgerHeldError(f"ledger {path} is held by {holder}", hint=holder.hint)
