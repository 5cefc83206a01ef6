"""Reading a ledger of any number of streams, without a secret and without disturbing a writer."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sqlalchemy import Connection, func, select

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.fatal_exit import FatalExit, read_fatal_exit
from poller.adapters.sql_ledger.lock import Holder, Role
from poller.adapters.sql_ledger.places import open_database, place_of
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.gaps import read_gaps
from poller.adapters.sql_ledger.tables.spans import read_spans
from poller.adapters.sql_ledger.tables.streams import (
    NO_STREAM_ID,
    can_be_renamed,
    read_beginning,
    read_streams,
    recorded,
)
from poller.adapters.sql_ledger.tables.stretches import read_revisits, read_unread
from poller.adapters.sql_ledger.tables.totals import dead_letters_by_reason, events_by_outcome
from poller.core.count_names import LOG, OUTCOMES
from poller.core.errors import PollerError
from poller.core.events import Stream
from poller.core.log_ids import LogId
from poller.core.spans import Gap, Inherited, Redelivery, ReopenedGap, Span, UnreadStretch


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
    """The state of the daemon as it was recorded last, by the clock of its machine.

    `cycle_error` is the error of the last cycle. The `blocked_…` fields are set while the daemon
    is blocked. `catch_up_since` is set while the daemon catches up, by the clock of Auth0, and
    `catch_up_error` while the catch-up cannot go on.
    """

    cycle_at: datetime | None = None
    cycle_error: str | None = None
    blocked_since: datetime | None = None
    blocked_code: str | None = None
    blocked_reason: str | None = None
    blocked_hint: str | None = None
    catch_up_since: datetime | None = None
    catch_up_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Everything that is settled of one stream, as of one moment.

    `revisits` are gaps that are read after all, redeliveries and inherited parts. Above their
    positions nothing is settled.
    `first_hour` is the oldest hour in which an event of the log was counted. `begun_after` is the
    lowest place at which the daemon was to begin.
    """

    spans: tuple[Span, ...]
    gaps: tuple[Gap, ...]
    revisits: tuple[ReopenedGap | Redelivery | Inherited, ...]
    unread: tuple[UnreadStretch, ...]
    first_hour: datetime | None
    begun_after: LogId | None


class LedgerReader:
    """Reads what `status` and `check` show. Not thread-safe.

    Each call sees the ledger as of one moment. A stream that the ledger does not hold is empty.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._streams: dict[Stream, int] = {}
        """The streams as of the moment of `at_one_moment`."""

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the ledger for reading only.

        Raises:
            TransientError: the ledger is locked.
            FatalError: the ledger is missing, was removed after it was made, is not readable or
                damaged, or has another version.
        """
        return cls(open_database(url, change=False))

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Let all calls under `with` see the ledger as of the moment of the first one."""
        with self._database.reading() as connection:
            self._connection, self._streams = connection, read_streams(connection)
            try:
                yield
            finally:
                self._connection = None

    def streams(self) -> tuple[Stream, ...]:
        """Return the streams in the order in which they were begun."""
        with self._transaction() as connection:
            return tuple(self._ids(connection))

    def recorded(self, stream: Stream) -> Stream | None:
        """Return the stream of the settings as the ledger records it, or None."""
        with self._database.reading() as connection:
            return recorded(read_streams(connection), stream)

    def can_become(self, stream: Stream) -> bool:
        """Return whether `run` would rename a stream that settled nothing to this one."""
        with self._transaction() as connection:
            streams = read_streams(connection).items()
            return any(can_be_renamed(connection, *each, stream) for each in streams)

    def spans(self, stream: Stream) -> tuple[Span, ...]:
        """Return the spans of the stream, by `after`."""
        with self.reading(stream) as (connection, stream_id):
            return read_spans(connection, stream, stream_id)

    def gaps(self, stream: Stream) -> tuple[Gap, ...]:
        """Return the gaps of the stream, by `after`. They may overlap."""
        with self.reading(stream) as (connection, stream_id):
            return read_gaps(connection, stream_id)

    def record(self, stream: Stream) -> Record:
        """Return what is settled."""
        with self.reading(stream) as (connection, stream_id):
            revisits = read_revisits(connection, stream, stream_id)
            return Record(
                spans=read_spans(connection, stream, stream_id),
                gaps=read_gaps(connection, stream_id),
                revisits=tuple(
                    each
                    for each in revisits
                    if isinstance(each, ReopenedGap | Redelivery | Inherited)
                ),
                unread=read_unread(connection, stream, stream_id),
                first_hour=_first_hour(connection, stream_id),
                begun_after=read_beginning(connection, stream_id),
            )

    def totals(self, stream: Stream) -> dict[str, int]:
        """Return the number of events by outcome, over all time.

        An event that came from the log and from a file counts twice.
        """
        with self.reading(stream) as (connection, stream_id):
            return dict.fromkeys(OUTCOMES, 0) | events_by_outcome(connection, stream_id)

    def dead_letters_by_reason(self, stream: Stream) -> dict[str, int]:
        """Return how many dead letters there are now, by reason code."""
        with self.reading(stream) as (connection, stream_id):
            return dead_letters_by_reason(connection, stream_id)

    def daemon_status(self, stream: Stream) -> DaemonStatus:
        """Return what the daemon recorded last."""
        columns = [column for column in schema.daemon_status.c if column.name != "stream_id"]
        with self.reading(stream) as (connection, stream_id):
            own = schema.daemon_status.c.stream_id == stream_id
            row = connection.execute(select(*columns).where(own)).mappings().one_or_none()
            return DaemonStatus(**(row or {}))

    def fatal_exit(self, stream: Stream) -> FatalExit | None:
        """Return the fatal error that ended the daemon, or None if a cycle has succeeded since."""
        with self._transaction() as connection:
            return read_fatal_exit(connection, stream)

    def holder(self, role: Role = "run") -> Holder | None:
        """Return the process that holds the ledger's lock for this role, or None."""
        return self._database.holder_of(role)

    def worker(self, stream: Stream) -> Holder | None:
        """Return the worker that owns the stream, or None if none does."""
        return self._database.worker_of(stream)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        if self._connection is not None:
            yield self._connection
            return
        with self._database.reading() as connection:
            yield connection

    @contextmanager
    def reading(self, stream: Stream) -> Iterator[tuple[Connection, int]]:
        """Yield a connection, and the id of the stream in the ledger. Other readers use it too."""
        with self._transaction() as connection:
            yield connection, self._ids(connection).get(stream, NO_STREAM_ID)

    def _ids(self, connection: Connection) -> dict[Stream, int]:
        if connection is self._connection:
            return self._streams
        return read_streams(connection)


def running_daemon(url: str) -> int | None:
    """Return the process id of the daemon that runs on this ledger.

    Return None without a daemon, and where the ledger cannot be looked at.
    """
    holder = running_process(url, "run")
    return holder.pid if holder else None


def running_process(url: str, role: Role) -> Holder | None:
    """Return the process that holds the ledger's lock for this role.

    Return None without one, and where the ledger cannot be looked at.
    """
    with suppress(PollerError):
        return place_of(url).holder_of(role)
    return None


def _first_hour(connection: Connection, stream_id: int) -> datetime | None:
    columns = schema.hourly_event_count.c
    query = select(func.min(columns.hour)).where(
        columns.stream_id == stream_id, columns.origin == LOG
    )
    hour: datetime | None = connection.scalar(query)
    return hour
