"""The lock beside a ledger that keeps a second process of the same role from starting."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from poller.adapters.sql_ledger.sqlite import driver, ledger_files
from poller.core.errors import TransientError

Role = Literal["run", "backfill"]

_PATIENCE_S = 0.2
"""`status` looks by taking the lock for a moment; that is no reason not to start."""


class LedgerHeldError(TransientError):
    """Another process of this role holds the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that holds a lock; `pid` and `since` are None while it has not said so yet."""

    role: Role
    pid: int | None
    since: datetime | None


class LedgerLock:
    """Held until closed; the kernel frees it when the process dies, however it dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(
        cls, url: str, role: Role, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> "LedgerLock":
        """Makes the ledger's folder where there is none; the ledger itself need not exist.

        Raises:
            LedgerHeldError: another process holds it; the message names it.
            FatalError: the lock file cannot be written.
        """
        path = driver.ledger_path(url)
        with driver.verdicts(path):
            ledger_files.refuse_second_name(path)
            ledger_files.make_folder(path)
            descriptor = ledger_files.open_private(_lock_file(path, role))
            try:
                if not ledger_files.try_lock(descriptor, patience_s=_PATIENCE_S):
                    raise LedgerHeldError(_held(path, _read(descriptor, role)))  # noqa: TRY301 - closed below
                os.ftruncate(descriptor, 0)
                os.pwrite(
                    descriptor, f"{os.getpid()} {now().isoformat(timespec='seconds')}\n".encode(), 0
                )
            except BaseException:
                os.close(descriptor)
                raise
            return cls(descriptor)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            # The file stays: were it removed, two processes could hold two files of one name.
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def holder_of(path: Path, role: Role) -> Holder | None:
    """The process that holds the lock now; looks without leaving a trace.

    Raises:
        OSError: the lock file cannot be read.
    """
    try:
        descriptor = os.open(_lock_file(path, role), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if ledger_files.try_lock(descriptor, patience_s=0, is_shared=True):
            return None
        return _read(descriptor, role)
    finally:
        os.close(descriptor)


def _lock_file(path: Path, role: Role) -> Path:
    return ledger_files.beside(path, f".{role}.lock")


def _read(descriptor: int, role: Role) -> Holder:
    try:
        pid, since = os.pread(descriptor, 100, 0).decode().split()
        return Holder(role=role, pid=int(pid), since=datetime.fromisoformat(since))
    except ValueError:
        return Holder(role=role, pid=None, since=None)


def _held(path: Path, holder: Holder) -> str:
    since = f", since {holder.since.isoformat()}" if holder.since else ""
    who = f"process {holder.pid}" if holder.pid else "another process"
    return f"ledger {path} is held by {who} ({holder.role}{since})"
