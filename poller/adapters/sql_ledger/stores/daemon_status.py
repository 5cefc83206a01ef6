"""The state of the daemon, recorded for `status`."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from poller.adapters.sql_ledger.fatal_exit import forget_fatal_exit
from poller.adapters.sql_ledger.stores.base import StreamStore
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.upsert import upsert
from poller.core.errors import FatalError


class DaemonStatusStore(StreamStore):
    """The last cycle of the daemon, why it is blocked if it is, and whether it catches up.

    Each note raises TakenOverError if a later daemon has taken the work over.
    """

    _now: Callable[[], datetime] = staticmethod(lambda: datetime.now(UTC))

    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        """Record that a cycle ended at this time, with this error or without one."""
        with self._writing_as_daemon() as connection:
            self._write(connection, cycle_at=at, cycle_error=error)
            if error is None:
                forget_fatal_exit(connection, self._stream)

    def note_blocked(self, error: FatalError | None) -> None:
        """Record that the daemon is blocked by this error, or that it is not blocked any more.

        The time since when the daemon is blocked stays the time of the first note. The daemon calls
        this in every cycle, so a note that changes nothing writes nothing.
        """
        columns = schema.daemon_status.c
        query = select(
            columns.blocked_since,
            columns.blocked_code,
            columns.blocked_reason,
            columns.blocked_hint,
        ).where(columns.stream_id == self._stream_id)
        code, reason, hint = (error.code, str(error), error.hint) if error else (None, None, None)
        with self._writing_as_daemon() as connection:
            row = connection.execute(query).one_or_none()
            since, *recorded = row or (None, None, None, None)
            if recorded == [code, reason, hint]:
                return
            self._write(
                connection,
                blocked_since=None if error is None else since or self._now(),
                blocked_code=code,
                blocked_reason=reason,
                blocked_hint=hint,
            )

    def catch_up_since(self) -> datetime | None:
        """Return the time since when the daemon catches up, or None if nothing is left to do."""
        columns = schema.daemon_status.c
        query = select(columns.catch_up_since).where(columns.stream_id == self._stream_id)
        with self._database.reading() as connection:
            since: datetime | None = connection.scalar(query)
            return since

    def note_catch_up(self, *, since: datetime | None, error: str | None) -> None:
        """Record since when the daemon catches up, and why it cannot go on now.

        The note outlives the last slice until every user of the backlog is identified.
        """
        with self._writing_as_daemon() as connection:
            self._write(connection, catch_up_since=since, catch_up_error=error)

    def _write(self, connection: Connection, **values: Any) -> None:
        row = upsert(schema.daemon_status, connection.dialect.name)
        row = row.values(stream_id=self._stream_id, **values)
        connection.execute(row.on_conflict_do_update(index_elements=["stream_id"], set_=values))
