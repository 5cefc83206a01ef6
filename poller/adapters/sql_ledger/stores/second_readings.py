"""Recent ids and unread stretches, by which the second reading finds late arrivals."""

from collections.abc import Sequence

from sqlalchemy import delete, update

from poller.adapters.sql_ledger.stores.base import StreamStore
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.gaps import in_gaps
from poller.adapters.sql_ledger.tables.recent_ids import forget_passed_ids, read_known
from poller.adapters.sql_ledger.tables.stretches import read_unread
from poller.core.log_ids import LogId
from poller.core.spans import LogCursor, UnreadStretch


class SecondReadingStore(StreamStore):
    """The parts that are read a second time, and the ids that the first reading settled."""

    def unread_stretches(self) -> tuple[UnreadStretch, ...]:
        """Return the parts that a second reading still has to read, oldest first."""
        with self._database.reading() as connection:
            return read_unread(connection, self._stream, self._stream_id)

    def not_settled(self, cursor: LogCursor, log_ids: Sequence[LogId]) -> frozenset[LogId]:
        """Return the ids among `log_ids` that lie above the position and were not settled.

        Ids in a recorded gap are left out. If the tenant shows them again, a backfill reads the
        gap. If the second reading sent them too, they would count twice.
        """
        above = frozenset(log_id for log_id in log_ids if log_id > cursor.reached)
        with self._database.reading() as connection:
            unknown = above - read_known(connection, self._stream_id, above)
            return unknown - in_gaps(connection, self._stream_id, unknown)

    def forget_ids(self) -> int:
        """Forget the recent ids that no second reading will read again. Return their number."""
        with self._database.writing() as connection:
            return forget_passed_ids(connection, self._stream_id)

    def stop_second_readings(self) -> None:
        """Mark everything read so far as confirmed, because second readings are off.

        Raises:
            TakenOverError: a later daemon works on the live span. Its second readings may be on.
        """
        columns = schema.span.c
        spans = update(schema.span).where(columns.stream_id == self._stream_id)
        with self._writing_as_daemon() as connection:
            connection.execute(spans.values({"confirmed": columns.reached}))
            for table in (schema.unread_stretch, schema.recent_id):
                connection.execute(delete(table).where(table.c.stream_id == self._stream_id))
