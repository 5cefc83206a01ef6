"""Reading the counts of a ledger, to compare them with those of both services."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Table, select

from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.hourly_counts import read_acknowledged
from poller.adapters.sql_ledger.tables.last_sent import read_last_sent
from poller.adapters.sql_ledger.tables.recent_ids import read_known
from poller.core.count_names import LOG
from poller.core.counts import AcknowledgedCounts, SentKey, TallyKey
from poller.core.events import Stream
from poller.core.log_ids import LogId
from poller.core.translation.change_detection import identify_key


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCounts:
    """The events of some hours of the log by outcome, and the tracks that were sent for them."""

    tallies: Mapping[TallyKey, int]
    sent: Mapping[SentKey, int]


class CountsReader(LedgerReader):
    """Reads what only `verify` and `trace` show, beside all that a `LedgerReader` reads."""

    def counts(self, stream: Stream, since: datetime, until: datetime) -> LogCounts:
        """Return the counts of the hours from `since` to before `until`.

        They hold only what was read from the log, since they are compared with the log.
        """
        with self.reading(stream) as (connection, stream_id):
            events = _of_log(connection, schema.hourly_event_count, stream_id, since, until)
            tracks = _of_log(connection, schema.hourly_track_count, stream_id, since, until)
            return LogCounts(
                tallies={
                    TallyKey(hour=row.hour, type=row.type, outcome=row.outcome): row.events
                    for row in events
                },
                sent={
                    SentKey(hour=row.hour, type=row.type, name=row.track_name): row.tracks
                    for row in tracks
                },
            )

    def acknowledged(self, stream: Stream, since: datetime, until: datetime) -> AcknowledgedCounts:
        """Return the acknowledged messages of the hours from `since` to before `until`."""
        with self.reading(stream) as (connection, stream_id):
            return read_acknowledged(connection, stream_id, since, until)

    def recent_ids(self, stream: Stream, log_ids: Collection[LogId]) -> frozenset[LogId]:
        """Return the ids among these that are recent ids, so that their events are settled."""
        with self.reading(stream) as (connection, stream_id):
            return read_known(connection, stream_id, log_ids)

    def count_told(self, stream: Stream, user_ids: Iterable[str]) -> int:
        """Return how many of these users an identify call was sent about, as far as is known."""
        keys = sorted({identify_key(user_id) for user_id in user_ids})
        with self.reading(stream) as (connection, stream_id):
            return sum(
                len(read_last_sent(connection, stream_id, keys[start : start + 1000], since=None))
                for start in range(0, len(keys), 1000)
            )


def _of_log(
    connection: Connection, table: Table, stream_id: int, since: datetime, until: datetime
) -> Iterable[Row[Any]]:
    columns = table.c
    own = (columns.stream_id == stream_id, columns.origin == LOG)
    hours = (columns.hour >= since, columns.hour < until)
    return connection.execute(select(table).where(*own, *hours))
