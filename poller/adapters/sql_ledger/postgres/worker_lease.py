"""The lease of a worker on a ledger in PostgreSQL.

A worker shares the ledger with workers on other machines. It has a row that says that the worker
is alive, and a row for each stream that it owns. The worker renews the first row alone, and the
rows of its streams are valid as long as that row is. So the cost of a renewal does not grow with
the number of streams.
"""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, delete, func, select

from poller.adapters.sql_ledger.lock import Holder, Lost, ignore_loss
from poller.adapters.sql_ledger.postgres import connection as begin
from poller.adapters.sql_ledger.postgres.address import Address
from poller.adapters.sql_ledger.postgres.lease import (
    IS_WORKER,
    NOW,
    STREAM_OF_WORKER,
    WHOLE,
    Lease,
    find_holder,
    leases,
)
from poller.adapters.sql_ledger.schema_version import LEASE
from poller.core.errors import PollerError


class WorkerLease(Lease):
    """The lease of a worker, which shares the ledger with other workers. Thread-safe.

    The worker is alive as long as it renews the lease.
    """

    def __init__(self, address: Address, role: str, on_lost: Lost) -> None:
        super().__init__(address, role, on_lost)
        self._lock = threading.Lock()
        self._owned: set[str] = set()
        """The rows of streams that may be there."""
        self._held: dict[str, Lost] = {}
        """The rows of streams that must be there."""
        self._may_own_more = False
        """True if the row of a stream may still be there that this worker does not own."""

    @classmethod
    def join(cls, address: Address) -> Self:
        """Begin to share the ledger.

        Raises:
            LedgerHeldError: a process that is no worker owns the whole ledger.
            TransientError, FatalError: the database cannot record it, or holds something else.
        """
        return cls._begin(address, "")

    @property
    def id(self) -> UUID:
        """The number of this worker, which no other one has."""
        return UUID(hex=self._owner)

    def standing(self) -> tuple[int, int]:
        """Return the place of this worker among those alive, from 0 on, and how many there are.

        The one that joined first has the place 0.
        """
        query = select(leases.c.owner).where(IS_WORKER, leases.c.expires_at > NOW)
        with self._transaction(begin.READING) as connection:
            owners = [*connection.scalars(query.order_by(leases.c.since, leases.c.owner))]
        if self._owner not in owners:  # it has expired, and is about to be renewed
            owners.append(self._owner)
        return owners.index(self._owner), len(owners)

    @contextmanager
    def owning(self, stream: str, on_lost: Lost = ignore_loss) -> Iterator[None]:
        """Own a stream within this context.

        `on_lost` is told by a thread of the lease, within seconds, that another process has taken
        the stream over. It must not wait.

        Raises:
            LedgerHeldError: another process owns the stream, or the whole ledger.
            TransientError, FatalError: the database cannot record it.
        """
        role = STREAM_OF_WORKER + stream
        with self._lock:
            self._owned.add(role)
        try:
            self._take(role, leases.c.role.in_([role, WHOLE]))
            with self._lock:
                self._held[role] = on_lost
            yield
        finally:
            with self._lock:
                self._owned.discard(role)
                self._held.pop(role, None)
            with contextlib.suppress(PollerError):
                self._free_others()

    def _rivals(self) -> ColumnElement[bool]:
        return leases.c.role.in_([self._role, WHOLE])

    def _renew(self) -> bool:
        is_valid = super()._renew()
        if self._may_own_more:
            self._free_others()
        self._tell_of_lost_streams()
        return is_valid

    def _tell_of_lost_streams(self) -> None:
        """Tell of each stream that another worker has taken, even if that one is gone again.

        Where a tenant has no events, no settle is refused.
        """
        with self._lock:
            held = {*self._held}
        query = select(leases.c.role).where(leases.c.owner == self._owner)
        with self._transaction(begin.READING) as connection:
            lost = held - {*connection.scalars(query)}
        for role in lost:
            with self._lock:
                on_lost = self._held.pop(role, ignore_loss)
            on_lost(self._lost_error())

    def _free_others(self) -> None:
        """Free the streams that this worker does not own any more.

        While the server cannot be reached, a stream cannot be freed. Nobody else could take it as
        long as this worker lives.
        """
        with self._lock:
            owned, self._may_own_more = [*self._owned], False
        is_left = leases.c.role.startswith(STREAM_OF_WORKER), leases.c.role.not_in(owned)
        try:
            with self._transaction() as connection:
                connection.execute(delete(leases).where(leases.c.owner == self._owner, *is_left))
        except PollerError:
            self._may_own_more = True
            raise


def read_worker(connection: Connection, stream: str) -> Holder | None:
    """Return the worker that owns the stream of this label now, or None."""
    if connection.scalar(select(func.to_regclass(LEASE))) is None:
        return None
    return find_holder(connection, leases.c.role == STREAM_OF_WORKER + stream)
