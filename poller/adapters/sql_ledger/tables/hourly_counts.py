"""The number of events, tracks and acknowledged messages in each hour, for `verify`.

An event counts in the hour of its own date, under its type, its outcome and its origin. It is
compared with Auth0's log. A message counts in the hour of its acknowledgement, and is compared with
Segment's own counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, delete, func, select
from sqlalchemy.dialects.sqlite import Insert

from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.upsert import upsert
from poller.core.count_names import FILE, FIRST, LOG, UNDELIVERED
from poller.core.counts import (
    AcknowledgedCounts,
    AcknowledgedKey,
    SentKey,
    TallyKey,
    beginning_of_hour,
    tally,
)
from poller.core.events import LogEvent


def add_events(connection: Connection, stream_id: int, events: Mapping[TallyKey, int]) -> None:
    """Add these numbers of events to the counts. A number may be negative."""
    counts = (
        (stream_id, key.hour, key.type, key.outcome, key.origin, number)
        for key, number in events.items()
    )
    _add(connection, schema.hourly_event_count, counts)


def add_tracks(connection: Connection, stream_id: int, tracks: Mapping[SentKey, int]) -> None:
    """Add these numbers of tracks to the counts."""
    counts = (
        (stream_id, key.hour, key.type, key.name, key.origin, number)
        for key, number in tracks.items()
    )
    _add(connection, schema.hourly_track_count, counts)


def add_acknowledged(
    connection: Connection, stream_id: int, messages: Mapping[AcknowledgedKey, int]
) -> None:
    """Add these numbers of messages to the counts."""
    counts = (
        (stream_id, key.hour, key.kind, key.event, key.sending, number)
        for key, number in messages.items()
    )
    _add(connection, schema.hourly_acknowledged_count, counts)


def _add(connection: Connection, table: Table, counts: Iterable[tuple[Any, ...]]) -> None:
    """Add numbers to rows. Each count holds the values of a row, in the order of its columns."""
    names = [column.name for column in table.c]
    rows = [dict(zip(names, values, strict=True)) for values in counts]
    if rows:
        connection.execute(_addition(table, connection.dialect.name), rows)


@cache
def _addition(table: Table, dialect: str) -> Insert:
    """Return the statement that adds to the one column of a table that is no part of its key."""
    row = upsert(table, dialect)
    (number,) = (column for column in table.c if not column.primary_key)
    total = {number.name: number + row.excluded[number.name]}
    keys = [column.name for column in table.primary_key]
    return row.on_conflict_do_update(index_elements=keys, set_=total)


def move_undelivered(connection: Connection, stream_id: int, since: datetime | None) -> None:
    """Count what was sent for the first time since this hour, or ever, as undelivered."""
    columns = schema.hourly_acknowledged_count.c
    sent_first = [columns.stream_id == stream_id, columns.sending == FIRST]
    if since is not None:
        sent_first.append(columns.hour >= beginning_of_hour(since))
    moved = delete(schema.hourly_acknowledged_count).where(*sent_first)
    rows = connection.execute(moved.returning(schema.hourly_acknowledged_count)).all()
    counts = {_key(row, sending=UNDELIVERED): row.messages for row in rows}
    add_acknowledged(connection, stream_id, counts)


def _key(row: Any, *, sending: str) -> AcknowledgedKey:
    return AcknowledgedKey(hour=row.hour, kind=row.kind, event=row.event, sending=sending)


def read_acknowledged(
    connection: Connection, stream_id: int, since: datetime, until: datetime
) -> AcknowledgedCounts:
    """Return the acknowledged messages of the hours from `since` to before `until`.

    A counted hour shows that the ledger counted then, whatever the clock of this machine said when
    the counting began.
    """
    columns, stream = schema.hourly_acknowledged_count.c, schema.stream.c
    own = columns.stream_id == stream_id
    first_hour = connection.scalar(select(func.min(columns.hour)).where(own))
    noted = connection.scalar(select(stream.acknowledged_since).where(stream.id == stream_id))
    rows = connection.execute(
        select(schema.hourly_acknowledged_count).where(
            own, columns.hour >= since, columns.hour < until
        )
    )
    return AcknowledgedCounts(
        since=min((each for each in (first_hour, noted) if each is not None), default=None),
        messages={_key(row, sending=row.sending): row.messages for row in rows},
    )


def forget_acknowledged(connection: Connection, stream_id: int, before: datetime) -> int:
    """Delete the acknowledged messages of the hours before this moment. Return the rows."""
    columns = schema.hourly_acknowledged_count.c
    old = delete(schema.hourly_acknowledged_count).where(
        columns.stream_id == stream_id, columns.hour < before
    )
    return connection.execute(old).rowcount


def change_outcome(
    connection: Connection, stream_id: int, event: LogEvent, before: str, after: str, at: datetime
) -> str:
    """Count an event under another outcome, in the origin in which it is counted now.

    The event counts for the log if the log's count of its hour holds any such event, and else for
    files. Return that origin.
    """
    key = tally(event, before, at)
    columns = schema.hourly_event_count.c
    query = select(columns.events).where(
        columns.stream_id == stream_id,
        columns.hour == key.hour,
        columns.type == key.type,
        columns.outcome == before,
        columns.origin == LOG,
    )
    origin = LOG if (connection.scalar(query) or 0) > 0 else FILE
    moved = replace(key, origin=origin)
    add_events(connection, stream_id, {moved: -1, replace(moved, outcome=after): 1})
    return origin
