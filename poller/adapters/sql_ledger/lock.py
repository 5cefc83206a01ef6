"""The lock that keeps a second process of the same role from starting on a ledger.

`run` and `backfill` hold one lock each, so both can work on one ledger at a time. A process that
waits for the lock of `run` holds the lock `standby`. SQLite has a lock on a file, and PostgreSQL
has a lease. `places.acquire_lock` takes either.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from poller.core.errors import TakenOverError

Role = Literal["run", "backfill", "standby"]
ROLES: tuple[Role, ...] = ("run", "backfill")
"""The roles that work on a ledger."""
Lost = Callable[[TakenOverError], None]
"""Told once, by any thread, that another process has taken over the lock. A file lock stays."""


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
        return f"{process}{host} ({self.role}{since})"


class LedgerLock(ABC):
    """A lock that is held until it is closed. `with` closes it."""

    @abstractmethod
    def close(self) -> None:
        """Free the lock. A second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
