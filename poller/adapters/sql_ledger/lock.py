"""The lock that keeps a second process of the same role from starting on a ledger.

`run` and `backfill` hold one lock each, so both can work on one ledger at a time. A process that
waits for the lock of `run` holds the lock `standby`. SQLite has a lock on a file, and PostgreSQL
has a lease. `places.acquire_lock` takes either.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from poller.core.errors import TakenOverError

Role = Literal["run", "backfill", "standby"]
ROLES: tuple[Role, ...] = ("run", "backfill")
"""The roles that work on a ledger."""
Lost = Callable[[TakenOverError], None]
"""Told once, by any thread, that another process has taken over the lock. A file lock stays."""

_STOPPED = {"T", "t"}


def ignore_loss(error: TakenOverError) -> None:
    """Go on. The fence refuses what an owner without its lock wants to settle."""
    del error


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process that holds a lock.

    A worker holds the lock of `run` on one stream, with others beside it.
    `host` is None on this machine. `pid` and `since` are None until the process has written them.
    """

    role: Role | Literal["worker"]
    pid: int | None
    since: datetime | None
    host: str | None = None

    def __str__(self) -> str:
        since = f", since {self.since.isoformat()}" if self.since else ""
        process = f"process {self.pid}" if self.pid else "another process"
        host = f" on {self.host}" if self.host else ""
        stopped = ", which is stopped" if self.is_stopped else ""
        return f"{process}{host} ({self.role}{since}){stopped}"

    @property
    def is_stopped(self) -> bool:
        """Return whether the process is stopped now, so that it neither works nor ends."""
        return self.pid is not None and self.host is None and is_stopped(self.pid)

    @property
    def hint(self) -> str | None:
        """The way out if the process is stopped, and None otherwise."""
        return wake_up(self.pid) if self.pid is not None and self.is_stopped else None


def is_stopped(pid: int) -> bool:
    """Return whether a process of this machine is stopped, as by SIGSTOP or a debugger."""
    return process_state(pid) in _STOPPED


def wake_up(pid: int) -> str:
    """Return the hint for a stopped process."""
    return f"let the process go on with `kill -CONT {pid}`, or end it with `kill -KILL {pid}`"


def process_state(pid: int) -> str | None:
    """Return the state of a process of this machine as a letter (proc(5)), or None if unknown."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return None


class LedgerLock(ABC):
    """A lock that is held until it is closed. `with` closes it."""

    @abstractmethod
    def close(self) -> None:
        """Free the lock. A second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
