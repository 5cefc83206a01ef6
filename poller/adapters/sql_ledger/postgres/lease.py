"""The lease on a ledger in PostgreSQL, which keeps a second process of the same role away.

A lease is a row that names its owner, and that expires 20 s after the owner renewed it last, by
the clock of the database. A thread renews it every 5 s. So a machine that is gone frees the ledger
within 20 s. A lock of a session would not do: a pooler gives each transaction another session, and
the server may keep a dead session for hours.

A process that has stalled does not notice that its lease has expired. What it writes then is
refused by the fence numbers of the rows.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    MetaData,
    Select,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from poller.adapters.sql_ledger.errors import LedgerHeldError
from poller.adapters.sql_ledger.lock import Holder, LedgerLock, Role
from poller.adapters.sql_ledger.postgres import connection as begin
from poller.adapters.sql_ledger.postgres.address import Address
from poller.adapters.sql_ledger.postgres.verdicts import verdicts
from poller.adapters.sql_ledger.schema_version import LEASE, read_version
from poller.core.errors import PollerError

RENEWED_EVERY_S = 5.0
EXPIRES_AFTER_S = 20
_JOIN_S = 10.0
_ENDED = {"Z", "X"}

_MOMENT = DateTime(timezone=True)
_lease = Table(
    LEASE,
    MetaData(),
    Column("role", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("host", Text, nullable=False),
    # Tells whether the process numbers of two owners come from one kernel and one container.
    Column("machine", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("since", _MOMENT, nullable=False),
    Column("expires_at", _MOMENT, nullable=False),
)
_NOW = func.clock_timestamp(type_=_MOMENT)
_EXPIRY = _NOW + timedelta(seconds=EXPIRES_AFTER_S)


class Lease(LedgerLock):
    """A lease that is renewed until it is closed."""

    def __init__(self, address: Address, role: Role) -> None:
        self._shown = address.shown
        self._engine = begin.engine(address)
        self._role: Role = role
        self._owner = uuid4().hex
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{role}", daemon=True)
        self.is_lost = False
        """True once another process has taken over the lease. It is never got back."""

    @classmethod
    def acquire(cls, address: Address, role: Role) -> Self:
        """Take the lease if it is free, has expired, or belongs to a dead process of this machine.

        The ledger need not exist.

        Raises:
            LedgerHeldError: another process holds the lease, and the message names it.
            TransientError, FatalError: the database cannot record it, or holds something else.
        """
        lease = cls(address, role)
        try:
            lease._take()
        except BaseException:
            lease._engine.dispose()
            raise
        lease._thread.start()
        return lease

    def close(self) -> None:
        """Free the lease. If the server cannot be reached, the lease expires by itself."""
        if self._is_closing.is_set():
            return
        self._is_closing.set()
        self._thread.join(_JOIN_S)
        with contextlib.suppress(PollerError), self._transaction() as connection:
            connection.execute(delete(_lease).where(*self._own()))
        self._engine.dispose()

    def _take(self) -> None:
        with self._transaction(begin.SETTING_UP) as connection:
            read_version(connection)  # refuses a database of somebody else
            _lease.create(connection, checkfirst=True)
            holder = _find(connection, _of(self._role).with_for_update())
            if holder is not None:
                raise LedgerHeldError(f"ledger {self._shown} is held by {holder}")
            connection.execute(delete(_lease).where(_lease.c.role == self._role))
            row = insert(_lease).values(
                role=self._role,
                owner=self._owner,
                host=socket.gethostname(),
                machine=_machine(),
                pid=os.getpid(),
                since=_NOW,
                expires_at=_EXPIRY,
            )
            connection.execute(row)

    def _own(self) -> tuple[ColumnElement[bool], ...]:
        return _lease.c.role == self._role, _lease.c.owner == self._owner

    def _keep(self) -> None:
        """Renew the lease until it is closed or lost. A failure to renew is tried again."""
        while not self._is_closing.wait(RENEWED_EVERY_S):
            with contextlib.suppress(PollerError), self._transaction() as connection:
                renewed = update(_lease).where(*self._own()).values(expires_at=_EXPIRY)
                if connection.execute(renewed).rowcount != 1:
                    self.is_lost = True
                    return

    @contextmanager
    def _transaction(self, statements: str = begin.CHANGING) -> Iterator[Connection]:
        with verdicts(self._shown):
            options = {begin.BEGIN: statements}
            try:
                with (
                    self._engine.connect().execution_options(**options) as connection,
                    connection.begin(),
                ):
                    yield connection
            except BaseException:
                self._engine.dispose()
                raise


def read_holder(connection: Connection, role: Role) -> Holder | None:
    """Return the process that holds the lease of this role now, or None."""
    if connection.scalar(select(func.to_regclass(LEASE))) is None:
        return None
    return _find(connection, _of(role))


def _of(role: Role) -> Select[Any]:
    is_valid = (_lease.c.expires_at > _NOW).label("is_valid")
    return select(_lease, is_valid).where(_lease.c.role == role)


def _find(connection: Connection, query: Select[Any]) -> Holder | None:
    """Return the process in the row, or None if the lease has expired or the process is dead."""
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    is_here = row.machine == _machine()
    if not row.is_valid or (is_here and not _is_alive(row.pid)):
        return None
    host = None if is_here else row.host
    return Holder(role=row.role, pid=row.pid, since=row.since.replace(microsecond=0), host=host)


def _machine() -> str:
    """Return what is the same for all processes that see each other by their numbers."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - a link of the kernel


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        # A process that ended stays as a zombie until its parent asks (proc(5)).
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in _ENDED
    return True
