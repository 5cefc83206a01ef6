"""The slices of a backfill and of a catch-up that the workers walk, and the count of a backfill.

A job is a slice: one span of the ledger. The ledger knows how far each slice is settled, so a job
that is lost or given to two workers costs time, and never an event.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Self

import psycopg
from pgqueuer.adapters.drivers.psycopg import SyncPsycopgDriver
from pgqueuer.adapters.persistence import qb
from pgqueuer.adapters.persistence.queries import SyncQueries

from poller.adapters.shift_queue.tables import COUNTS, SETTINGS, failure, install

SLICE = "slice"
"""The kind of a job that is a slice of a backfill."""
CATCH_UP = "catch_up"
"""The kind of a job that is a slice of a catch-up. The tenant's events of today wait in it."""
_JOBS = SETTINGS.qualified.queue_table
_WITHDRAW = f"DELETE FROM {_JOBS} WHERE dedupe_key = ANY(%s) AND status = 'queued'"  # noqa: S608
_LEFT = f"SELECT count(*) FROM {_JOBS} WHERE dedupe_key = ANY(%s)"  # noqa: S608 - same
_COUNTED = f"SELECT counts FROM {COUNTS} WHERE run = %s"  # noqa: S608 - the names are ours


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceOrder:
    """A slice that any worker may walk. `run` names the run of the command that wants it.

    It is empty for a slice of a catch-up. The owner of the pipeline has given that away under
    `fence`, and takes back what a worker does not finish.
    """

    run: str
    pipeline: str
    stream: str
    span: int
    fence: int | None = None
    no_identify: bool = False
    integrations: Mapping[str, Any] | None = None

    @property
    def key(self) -> str:
        """The key of its job, so that no two workers are given the slice."""
        return f"slice {self.span} of {self.stream}"

    @property
    def kind(self) -> str:
        return SLICE if self.run else CATCH_UP

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        return cls(**json.loads(payload))


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """The walk of a worker over a slice. It is walked again after a time, unless `is_over`."""

    is_over: bool
    again_after: timedelta = timedelta()
    counts: Mapping[str, int] = field(default_factory=dict)


class SliceOrders:
    """The orders of one run of a command, or of one slice of a catch-up. Used by one thread."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        builder = qb.QueryQueueBuilder(settings=SETTINGS)
        self._queries = SyncQueries(SyncPsycopgDriver(connection), qbq=builder)

    @classmethod
    @contextmanager
    def open(cls, conninfo: str) -> Iterator[Self]:
        """Connect to the queue.

        Raises:
            TransientError: the queue cannot be reached.
        """
        try:
            install(conninfo)
            with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection:
                yield cls(connection)
        except psycopg.Error as error:
            raise failure(error) from None

    def place(self, orders: Sequence[SliceOrder]) -> None:
        """Put each slice into the queue that is not there. A slice at work stays as it is."""
        if orders:
            self._queries.enqueue(
                [each.kind for each in orders],
                [each.encode() for each in orders],
                [0] * len(orders),
                dedupe_key=[each.key for each in orders],
                on_conflict="skip",
            )

    def withdraw(self, orders: Collection[SliceOrder]) -> int:
        """Take the slices that nobody walks yet out of the queue. Return how many there were."""
        return self._connection.execute(
            _WITHDRAW.encode(), [[each.key for each in orders]]
        ).rowcount

    def left(self, orders: Collection[SliceOrder]) -> int:
        """Return how many of the slices are in the queue. A worker leaves one after its count."""
        row = self._connection.execute(_LEFT.encode(), [[each.key for each in orders]]).fetchone()
        return int(row[0]) if row else 0

    def counts(self, run: str) -> Counter[str]:
        """Return what the workers have sent in this run, as far as they have told."""
        rows = self._connection.execute(_COUNTED.encode(), [run]).fetchall()
        return sum((Counter(counts) for (counts,) in rows), Counter())
