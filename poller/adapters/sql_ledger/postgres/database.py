"""A ledger in PostgreSQL: its set-up, and its transactions.

Rows are guarded by the locks with which a transaction begins. One that writes to a stream locks the
row of the stream, and shares a lock on the row of `ledger_version`. One that writes to the whole
ledger locks the row of `ledger_version` alone. So whatever a transaction reads stays as it is
until the transaction ends, under READ COMMITTED too, and no two transactions can wait for each
other.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Self

from sqlalchemy import Connection

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.errors import LedgerFatalError, LedgerLockedError
from poller.adapters.sql_ledger.lock import Holder, Role
from poller.adapters.sql_ledger.postgres import connection as begin
from poller.adapters.sql_ledger.postgres.address import Address
from poller.adapters.sql_ledger.postgres.lease import read_holder
from poller.adapters.sql_ledger.postgres.tables import create_tables
from poller.adapters.sql_ledger.postgres.verdicts import verdicts
from poller.adapters.sql_ledger.postgres.worker_lease import read_worker
from poller.adapters.sql_ledger.schema_version import (
    VERSION,
    check_version,
    read_version,
)
from poller.adapters.sql_ledger.tables.streams import label
from poller.core.errors import FatalError, PollerError
from poller.core.events import Stream

_OLDEST_SERVER = 130_000


class PostgresDatabase(Database):
    """The connection to the server."""

    def __init__(self, address: Address) -> None:
        super().__init__(begin.engine(address), address.shown)
        self._writing = begin.WRITING

    @classmethod
    def open(cls, address: Address, *, may_set_up: bool, change: bool) -> Self | None:
        """Open the ledger, or return None if there is none and it may not be set up.

        Raises:
            TransientError: the server cannot be reached, or cannot do it now.
            FatalError: the server refuses, or holds something else, or a later program's ledger.
        """
        with verdicts(address.shown):
            database = cls(address)
            try:
                version = database.version()
                if version is None and may_set_up:
                    version = database._set_up()
                if version is None:
                    database.close()
                    return None
                check_version(version)
                if version < VERSION:
                    raise _older_ledger_error(address.shown, version)  # noqa: TRY301 - closed below
                if not change:
                    database._writing = begin.READING
            except BaseException:
                database.close()
                raise
            return database

    def version(self) -> int | None:
        """Return the version of the schema, or None without a ledger.

        Raises:
            FatalError: the server is too old, or the database holds something else.
        """
        with self.reading() as connection:
            _refuse_unsuitable(connection)
            return read_version(connection)

    def of_stream(self, stream_id: int) -> Self:
        """Return the same database for a caller who writes to this stream alone."""
        other = copy.copy(self)
        other._writing = begin.writing_to(stream_id)  # noqa: SLF001 - a copy of this object
        return other

    def overwrite_deleted(self, connection: Connection) -> None:
        """Do nothing. The server overwrites what is deleted when it vacuums the table."""

    def holder_of(self, role: Role) -> Holder | None:
        """Return the process that holds the lease of this role now, or None.

        Within a transaction, the answer is as of this moment and not of its beginning.
        """
        with self._lock, self._verdicts():
            if self._connection is not None:
                return read_holder(self._connection, role)
            with self.reading() as connection:
                return read_holder(connection, role)

    def worker_of(self, stream: Stream) -> Holder | None:
        with self._lock, self._verdicts():
            if self._connection is not None:
                return read_worker(self._connection, label(stream))
            with self.reading() as connection:
                return read_worker(connection, label(stream))

    @contextmanager
    def _transaction(self, options: Mapping[str, Any]) -> Iterator[Connection]:
        try:
            with super()._transaction(options) as connection:
                yield connection
        except LedgerLockedError:
            # The next attempt succeeds if the locks belonged to a session that has stalled.
            with suppress(PollerError), self.reading() as connection:
                begin.end_stalled(connection)
            raise

    def _set_up(self) -> int:
        with self._transaction({begin.BEGIN: begin.SETTING_UP}) as connection:
            version = read_version(connection)
            if version is None:
                create_tables(connection)
            return version or VERSION

    def _verdicts(self) -> AbstractContextManager[None]:
        return verdicts(self.shown)

    def _options(self, *, writes: bool) -> Mapping[str, Any]:
        return {begin.BEGIN: self._writing if writes else begin.READING}


def _older_ledger_error(shown: str, found: int) -> LedgerFatalError:
    # The steps of a migration are those of SQLite. No earlier version used PostgreSQL.
    return LedgerFatalError(
        f"ledger {shown}: its schema is version {found}, and this program reads version {VERSION}",
        code="ledger-too-old",
        hint="install the version that wrote it: this one brings no ledger in PostgreSQL up; "
        "nothing was changed",
    )


def _refuse_unsuitable(connection: Connection) -> None:
    info = begin.driver_connection(connection).info
    encoding = info.parameter_status("server_encoding")
    if info.server_version < _OLDEST_SERVER or encoding != "UTF8":
        raise FatalError(
            f"the server has version {info.server_version // 10_000}, and the database has the "
            f"encoding {encoding}",
            code="ledger-server-unsuitable",
            hint="use PostgreSQL 13 or later, and a database that was created with ENCODING UTF8",
        )
