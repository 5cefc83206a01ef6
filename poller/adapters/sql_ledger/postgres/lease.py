"""The lease on a ledger in PostgreSQL, which keeps a second process of the same role away.

A lease is a row that names its owner, and that expires 20 s after the owner renewed it last, by
the clock of the database. A thread renews it every 5 s. So a machine that is gone frees the ledger
within 20 s. A lock of a session would not do: a pooler gives each transaction another session, and
the server may keep a dead session for hours.

A process that has stalled notices that its lease is lost when it renews the lease next, which is
at once when the process wakes up. What it writes before is refused by the fence numbers of the
rows.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
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
    Table,
    Text,
    and_,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)

from poller.adapters.sql_ledger.errors import LedgerHeldError
from poller.adapters.sql_ledger.lock import (
    Holder,
    LedgerLock,
    Lost,
    Role,
    ignore_loss,
    process_state,
)
from poller.adapters.sql_ledger.postgres import connection as begin
from poller.adapters.sql_ledger.postgres.address import Address
from poller.adapters.sql_ledger.postgres.verdicts import verdicts
from poller.adapters.sql_ledger.schema_version import LEASE, read_version
from poller.adapters.sql_ledger.tables.fences import TAKEN_OVER
from poller.core.errors import PollerError, TakenOverError, TransientError

RENEWED_EVERY_S = 5.0
EXPIRES_AFTER_S = 20
_JOIN_S = 10.0
_TURN_S = 30.0
_ENDED = {"Z", "X"}
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MACHINE_ID = "/etc/machine-id"
_UNKNOWN = uuid4().hex

_MOMENT = DateTime(timezone=True)
leases = Table(
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
WHOLE: Role = "run"
STREAM_OF_WORKER = "run "
"""The beginning of the name of each row that is about one stream."""
_DEAD_KEPT = timedelta(hours=1)
"""The time for which the row of a killed worker is kept. A stalled one wakes up long before."""
IS_WORKER = leases.c.role.startswith("worker ")
NOW = func.clock_timestamp(type_=_MOMENT)


class Lease(LedgerLock):
    """A lease that is renewed until it is closed."""

    def __init__(self, address: Address, role: str, on_lost: Lost) -> None:
        self._shown = address.shown
        self._engine = begin.engine(address)
        self._owner = uuid4().hex
        self._on_lost = on_lost
        self._role = role or f"worker {self._owner}"
        # A thread that waited in the pool would not be woken when the connection cannot be opened.
        self._turn = threading.Lock()
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{role}", daemon=True)
        self.is_lost = False
        """True once another process has taken over the lease. It is never got back."""

    @classmethod
    def acquire(cls, address: Address, role: Role, on_lost: Lost = ignore_loss) -> Self:
        """Take the lease if it is free, has expired, or belongs to a dead process of this machine.

        The ledger need not exist.

        Raises:
            LedgerHeldError: another process holds the lease, and the message names it.
            TransientError, FatalError: the database cannot record it, or holds something else.
        """
        return cls._begin(address, role, on_lost)

    @classmethod
    def _begin(cls, address: Address, role: str, on_lost: Lost = ignore_loss) -> Self:
        lease = cls(address, role, on_lost)
        try:
            lease._take(lease._role, lease._rivals())
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
            connection.execute(delete(leases).where(leases.c.owner == self._owner))
        self._engine.dispose()

    def _take(self, role: str, rivals: ColumnElement[bool]) -> None:
        """Write a row with this role, unless one of the rivals is valid."""
        with self._transaction(begin.READING) as connection:
            begin.end_stalled(connection)
        with self._transaction(begin.SETTING_UP) as connection:
            read_version(connection)  # refuses a database of somebody else
            leases.create(connection, checkfirst=True)
            holder = find_holder(connection, and_(rivals, leases.c.owner != self._owner))
            if holder is not None:
                raise LedgerHeldError(f"ledger {self._shown} is held by {holder}", hint=holder.hint)
            long_dead = and_(IS_WORKER, leases.c.expires_at < NOW - _DEAD_KEPT)
            connection.execute(delete(leases).where(or_(rivals, long_dead)))
            row = insert(leases).values(
                role=role,
                owner=self._owner,
                host=socket.gethostname(),
                machine=_machine(),
                pid=os.getpid(),
                since=NOW,
                expires_at=_expiry(),
            )
            connection.execute(row)

    def _rivals(self) -> ColumnElement[bool]:
        """Return the condition for the rows that keep this process away."""
        return _of(self._role)

    def _own(self) -> tuple[ColumnElement[bool], ...]:
        return leases.c.role == self._role, leases.c.owner == self._owner

    def _keep(self) -> None:
        """Renew the lease until it is closed or lost. A failure to renew is tried again."""
        while not self._is_closing.wait(RENEWED_EVERY_S):
            with contextlib.suppress(PollerError):
                if not self._renew() and not self._is_closing.is_set():
                    self.is_lost = True
                    self._on_lost(self._lost_error())
                    return

    def _renew(self) -> bool:
        """Renew the lease. Return false if its row is gone, so that another process may work."""
        renewed = update(leases).where(*self._own()).values(expires_at=_expiry())
        with self._transaction() as connection:
            return connection.execute(renewed).rowcount == 1

    def _lost_error(self) -> TakenOverError:
        return TakenOverError(
            f"ledger {self._shown}: another process has taken it over, since this one did not "
            f"renew its lease within {EXPIRES_AFTER_S} s",
            code="taken-over",
            hint=TAKEN_OVER,
        )

    @contextmanager
    def _transaction(self, statements: str = begin.CHANGING) -> Iterator[Connection]:
        with self._taking_turns(), verdicts(self._shown):
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

    @contextmanager
    def _taking_turns(self) -> Iterator[None]:
        """Use the connection alone within this context.

        Raises:
            TransientError: another thread still waits for the server.
        """
        if not self._turn.acquire(timeout=_TURN_S):
            raise TransientError(f"ledger {self._shown} has not answered for {_TURN_S:g} s")
        try:
            yield
        finally:
            self._turn.release()


def read_holder(connection: Connection, role: Role) -> Holder | None:
    """Return a process that holds the lease of this role now, or None."""
    if connection.scalar(select(func.to_regclass(LEASE))) is None:
        return None
    return find_holder(connection, _of(role))


def _of(role: str) -> ColumnElement[bool]:
    """Return the condition for the rows that keep a process of this role away."""
    is_role = leases.c.role == role
    return or_(is_role, leases.c.role.startswith(STREAM_OF_WORKER)) if role == "run" else is_role


def find_holder(connection: Connection, rows: ColumnElement[bool]) -> Holder | None:
    """Return the process in one of these rows, or None if all have expired or are dead."""
    owner = leases.alias()
    is_valid = exists().where(owner.c.owner == leases.c.owner, owner.c.expires_at > NOW)
    for row in connection.execute(select(leases).where(rows, is_valid).order_by(leases.c.role)):
        is_here = row.machine == _machine()
        if not is_here or _is_alive(row.pid):
            host = None if is_here else row.host
            role: Any = "worker" if row.role.startswith(STREAM_OF_WORKER) else row.role
            return Holder(role=role, pid=row.pid, since=row.since.replace(microsecond=0), host=host)
    return None


def _expiry() -> ColumnElement[datetime]:
    return NOW + timedelta(seconds=EXPIRES_AFTER_S)


def _machine() -> str:
    """Return what is the same for all processes that see each other by their numbers."""
    return f"{_boot()}-{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - of the kernel


def _boot() -> str:
    """Return the number of the boot, or else of the machine: the units hide the first one.

    Without both, no other process is taken for one of this machine, so each lease has to expire.
    """
    for path, name in ((_BOOT_ID, ""), (_MACHINE_ID, socket.gethostname())):
        with contextlib.suppress(OSError):
            return Path(path).read_text().strip() + name
    return _UNKNOWN


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # A process that ended stays as a zombie until its parent asks (proc(5)).
    return process_state(pid) not in _ENDED
