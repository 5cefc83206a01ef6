"""The number of events and of tracks in each hour. `verify` compares them with Auth0's log.

An event counts in the hour of its own date, under its type, its outcome and its origin.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import Insert

from poller.adapters.sql_ledger.sqlite.driver import upsert
from poller.adapters.sql_ledger.tables import schema
from poller.core.counts import FILE, LOG, SentKey, TallyKey, tally
from poller.core.events import LogEvent


def add_events(connection: Connection, stream_id: int, events: Mapping[TallyKey, int]) -> None:
    """Add these numbers of events to the counts. A number may be negative."""
    rows = [
        {
            "stream_id": stream_id,
            "hour": key.hour,
            "type": key.type,
            "outcome": key.outcome,
            "origin": key.origin,
            "events": number,
        }
        for key, number in events.items()
    ]
    if rows:
        connection.execute(_add_events(), rows)


@cache
def _add_events() -> Insert:
    row = upsert(schema.hourly_event_count)
    keys = ["stream_id", "hour", "type", "outcome", "origin"]
    total = schema.hourly_event_count.c.events + row.excluded.events
    return row.on_conflict_do_update(index_elements=keys, set_={"events": total})


def add_tracks(connection: Connection, stream_id: int, tracks: Mapping[SentKey, int]) -> None:
    """Add these numbers of tracks to the counts."""
    rows = [
        {
            "stream_id": stream_id,
            "hour": key.hour,
            "type": key.type,
            "track_name": key.name,
            "origin": key.origin,
            "tracks": number,
        }
        for key, number in tracks.items()
    ]
    if rows:
        connection.execute(_add_tracks(), rows)


@cache
def _add_tracks() -> Insert:
    row = upsert(schema.hourly_track_count)
    keys = ["stream_id", "hour", "type", "track_name", "origin"]
    total = schema.hourly_track_count.c.tracks + row.excluded.tracks
    return row.on_conflict_do_update(index_elements=keys, set_={"tracks": total})


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
