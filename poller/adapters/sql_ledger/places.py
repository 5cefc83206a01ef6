"""The place of a ledger, which is a file of SQLite or a database of PostgreSQL.

This module alone knows that there are two. The dialects differ in the modules of `sqlite` and
`postgres`, and all else is written once.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.lock import Holder, LedgerLock, Lost, Role, ignore_loss
from poller.adapters.sql_ledger.sqlite.place import SqlitePlace
from poller.core.errors import FatalError

if TYPE_CHECKING:
    from poller.adapters.sql_ledger.postgres.place import PostgresPlace


class LedgerPlace(Protocol):
    """A place at which a ledger is or may be made."""

    @property
    def shown(self) -> str:
        """The place as people see it, without a secret."""
        ...

    @property
    def file(self) -> Path | None:
        """The file that holds the ledger, or None if a server holds it."""
        ...

    def beside(self, suffix: str) -> Path:
        """Return the path of a file of this machine that belongs to the ledger."""
        ...

    def open(self, *, create: bool) -> Database:
        """Open the ledger for writing, and bring its schema to the newest version.

        With `create`, make a ledger that is missing. One process at a time sets a ledger up.

        Raises:
            TransientError: the ledger is locked, its disk is full, or it cannot be reached.
            FatalError: the ledger is missing, was removed after it was made, is not writable,
                damaged or no ledger, or was written by a later version.
        """
        ...

    def open_read_only(self) -> Database:
        """Open a ledger of the newest version for reading. Change nothing and take no lock.

        Raises:
            TransientError, FatalError: for the same reasons as `open`.
        """
        ...

    def acquire(self, role: Role, now: Callable[[], datetime], on_lost: Lost) -> LedgerLock:
        """Take the lock of this role. The ledger need not exist.

        A file lock is free once its process has ended. A lease in PostgreSQL is free once its
        process has ended on this machine, or 20 s after the owner renewed it last on another one.
        A process that waits for a ledger calls this again, every few seconds, until it succeeds.
        A lease can be lost while its owner stalls: see `postgres.lease`. `on_lost` is told then.

        Raises:
            LedgerHeldError: another process holds the lock, and the message names it.
            TransientError, FatalError: the lock cannot be taken.
        """
        ...

    def holder_of(self, role: Role) -> Holder | None:
        """Return the process that holds the lock of this role now, or None. Leave nothing behind.

        Raises:
            TransientError, FatalError: the lock cannot be looked at.
        """
        ...

    def exists(self) -> bool:
        """Return whether something is at this place. A place that cannot be reached counts."""
        ...

    def refuse_unusable(self) -> str | None:
        """Return a line that says that `run` would make the ledger, or None if there is one.

        Raises:
            TransientError, FatalError: `run` could not use the place as it is.
        """
        ...

    def try_to_write(self) -> None:
        """Prove that this process could write to the ledger. Change nothing.

        Raises:
            TransientError, FatalError: it could not.
        """
        ...


def place_of(url: str) -> LedgerPlace:
    """Return the place that the URL names.

    Raises:
        FatalError: the URL names no place, or a link on the way leads nowhere.
    """
    return _kind(url).of(url)


def local_path(url: str) -> Path:
    """Return the path, with its links, of the files of this machine that belong to the ledger.

    Raises:
        FatalError: the URL names no place.
    """
    return _kind(url).local_path(url)


def _kind(url: str) -> type[SqlitePlace] | type["PostgresPlace"]:
    if not url.startswith("postgresql"):
        return SqlitePlace
    try:
        # The driver is an extra, and takes long to import.
        from poller.adapters.sql_ledger.postgres.place import PostgresPlace  # noqa: PLC0415
    except ImportError:
        raise FatalError(
            "state.url names a PostgreSQL database, and the driver for it is missing",
            code="ledger-driver-missing",
            hint="install it beside the program: pip install 'auth0-segment-poller[postgres]'",
        ) from None
    return PostgresPlace


def open_database(url: str, *, change: bool) -> Database:
    """Open an existing ledger, for writing or for reading only."""
    place = place_of(url)
    if change:
        return place.open(create=False)
    return place.open_read_only()


def acquire_lock(
    url: str,
    role: Role,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    on_lost: Lost = ignore_loss,
) -> LedgerLock:
    """Take the lock of this role, as `LedgerPlace.acquire` does."""
    return place_of(url).acquire(role, now, on_lost)
