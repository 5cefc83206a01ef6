"""A ledger in a database of PostgreSQL."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from sqlalchemy import text

from poller.adapters.sql_ledger.errors import LedgerFatalError
from poller.adapters.sql_ledger.local_files.private_files import beside, open_private
from poller.adapters.sql_ledger.lock import Holder, Lost, Role
from poller.adapters.sql_ledger.postgres.address import Address
from poller.adapters.sql_ledger.postgres.database import PostgresDatabase
from poller.adapters.sql_ledger.postgres.lease import Lease
from poller.core.errors import FatalError

_MARKER = ".known"
_MARKER_TEXT = b"A ledger was made here. Remove this file only to begin a new one on purpose.\n"
_FOLDER_OWNER_ONLY = 0o700


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresPlace:
    """The address of the database."""

    address: Address

    @classmethod
    def of(cls, url: str) -> Self:
        return cls(address=Address.of(url))

    @staticmethod
    def local_path(url: str) -> Path:
        return Address.of(url).local_path

    @property
    def shown(self) -> str:
        return self.address.shown

    @property
    def file(self) -> None:
        return None

    def beside(self, suffix: str) -> Path:
        return beside(self.address.local_path, suffix)

    def open(self, *, create: bool) -> PostgresDatabase:
        was_known = self._was_known()
        may_set_up = create and not was_known
        database = PostgresDatabase.open(self.address, may_set_up=may_set_up, change=True)
        if database is None:
            raise self._missing_error(was_known=was_known)
        if create and not was_known:
            self._remember()
        return database

    def open_read_only(self) -> PostgresDatabase:
        database = PostgresDatabase.open(self.address, may_set_up=False, change=False)
        if database is None:
            raise self._missing_error(was_known=self._was_known())
        return database

    def acquire(self, role: Role, now: Callable[[], datetime], on_lost: Lost) -> Lease:
        del now  # the clock of the database counts
        with contextlib.suppress(OSError):  # only the socket and the link of the page need it
            self.address.folder.mkdir(mode=_FOLDER_OWNER_ONLY, parents=True, exist_ok=True)
        return Lease.acquire(self.address, role, on_lost)

    def holder_of(self, role: Role) -> Holder | None:
        database = PostgresDatabase(self.address)
        try:
            return database.holder_of(role)
        finally:
            database.close()

    def exists(self) -> bool:
        return True

    def refuse_unusable(self) -> str | None:
        database = PostgresDatabase(self.address)
        try:
            if database.version() is not None:
                return None
            if self._was_known():
                raise self._missing_error(was_known=True)
            with database.reading() as connection:
                query = "SELECT has_schema_privilege(current_schema(), 'CREATE')"
                if not connection.scalar(text(query)):
                    raise FatalError(
                        "the user may not create tables in it",
                        code="ledger-access-refused",
                        hint="GRANT CREATE ON SCHEMA, or let the user own the database",
                    )
        finally:
            database.close()
        return f"none yet; `run` creates it in {self.shown}"

    def try_to_write(self) -> None:
        database = PostgresDatabase(self.address)
        try:
            # The lock with which the transaction begins needs the right to write.
            with database.writing() as connection:
                connection.execute(text("UPDATE ledger_version SET version = version"))
                connection.rollback()
        finally:
            database.close()

    def _was_known(self) -> bool:
        """Return whether this machine has seen a ledger there.

        Without this, a database that was dropped and made anew would pass for a first start.
        """
        marker = self.beside(_MARKER)
        with contextlib.suppress(OSError):
            return marker.stat().st_size > 0
        return False

    def _remember(self) -> None:
        with contextlib.suppress(OSError):  # a machine without a disk does without
            self.address.folder.mkdir(mode=_FOLDER_OWNER_ONLY, parents=True, exist_ok=True)
            descriptor = open_private(self.beside(_MARKER))
            try:
                os.write(descriptor, _MARKER_TEXT)
            finally:
                os.close(descriptor)

    def _missing_error(self, *, was_known: bool) -> LedgerFatalError:
        if was_known:
            return LedgerFatalError(
                f"the ledger in {self.shown} was there before and is gone",
                code="ledger-gone",
                hint="restore the database. Only to begin a new ledger, which does not know what "
                f"was sent: move {self.beside(_MARKER)} into another folder, and set poll.start",
            )
        return LedgerFatalError(
            f"there is no ledger in {self.shown}",
            code="ledger-missing",
            hint="`run` creates it; or point [state] url at the one there is",
        )
