"""The alerts that wait to be sent, and what was told before, so that a restart loses neither."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Table, delete, insert, select

from poller.adapters.sql_ledger.stores.base import StreamStore
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.totals import dead_letters_by_reason

Row = Mapping[str, Any]
"""A row of a table of alerts, by column. The service knows what is in it."""
_TABLES = (schema.alert_memory, schema.queued_alert)


class AlertStore(StreamStore):
    """The state of the alerts. One thread writes it as a whole, and it is small."""

    def read_alerts(self) -> tuple[list[Row], list[Row]]:
        """Return what was told before by kind, and the queue in its order."""
        with self._database.reading() as connection:
            memories, queued = (
                connection.execute(self._own(table)).mappings().all() for table in _TABLES
            )
        return [dict(row) for row in memories], [dict(row) for row in queued]

    def _own(self, table: Table) -> Any:
        columns = [column for column in table.c if column.name != "stream_id"]
        own = select(*columns).where(table.c.stream_id == self._stream_id)
        return own.order_by(*table.primary_key.columns)

    def write_alerts(self, memories: Iterable[Row], queued: Iterable[Row]) -> None:
        """Replace the state of the alerts in one transaction.

        Raises:
            TakenOverError: the state belongs to a later daemon now.
            TransientError, FatalError: the database cannot record it.
        """
        with self._writing_as_daemon() as connection:
            for table, rows in zip(_TABLES, (memories, queued), strict=True):
                connection.execute(delete(table).where(table.c.stream_id == self._stream_id))
                own = [{"stream_id": self._stream_id, **row} for row in rows]
                if own:
                    connection.execute(insert(table), own)

    def alert_facts(self) -> Row:
        """Return when each gap was noticed, and the dead letters by reason, as of one moment."""
        columns = schema.gap.c
        query = select(columns.noticed_at).where(columns.stream_id == self._stream_id)
        with self._database.reading() as connection:
            return {
                "gaps": tuple(connection.scalars(query)),
                "dead_letters": dead_letters_by_reason(connection, self._stream_id),
            }
