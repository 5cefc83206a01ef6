"""Recording what came of the events of a page, within the transaction that settles the page."""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, delete, select

from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.hourly_counts import (
    add_acknowledged,
    add_events,
    add_tracks,
    change_outcome,
)
from poller.adapters.sql_ledger.tables.last_sent import (
    forget_keys,
    read_last_sent,
    record_last_sent,
)
from poller.adapters.sql_ledger.tables.pending_identifies import record_pending
from poller.adapters.sql_ledger.tables.streams import read_resent
from poller.adapters.sql_ledger.tables.upsert import upsert
from poller.core.count_names import DEAD_LETTERED, FORWARDED
from poller.core.counts import AcknowledgedKey, count_acknowledged, ids_of_signups
from poller.core.events import LogEvent, canonical
from poller.core.log_ids import LogId
from poller.core.messages import Message
from poller.core.outcomes import DeadLetter
from poller.core.settlement import EventOutcomes
from poller.core.spans import LogRange
from poller.core.translation.change_detection import identify_key


def record_outcomes(
    connection: Connection,
    stream_id: int,
    outcomes: EventOutcomes,
    at: datetime,
    *,
    is_inherited: bool = False,
) -> None:
    """Record the outcomes of events that are settled for the first time, at the server's time.

    Inherited events were read before, and counted as filtered, since they were another route's.
    """
    resent = read_resent(connection, stream_id)
    counts = _acknowledged(connection, stream_id, outcomes, at, resent)
    add_acknowledged(connection, stream_id, counts)
    _insert_dead_letters(connection, stream_id, outcomes.dead_letters, at)
    record_last_sent(connection, stream_id, outcomes.fingerprints, at)
    record_pending(connection, stream_id, outcomes, at)
    tallies = outcomes.tallies_of_inherited if is_inherited else outcomes.tallies
    add_events(connection, stream_id, tallies)
    add_tracks(connection, stream_id, outcomes.sent())


def record_resent_outcomes(
    connection: Connection,
    stream_id: int,
    outcomes: EventOutcomes,
    at: datetime,
    *,
    has_arrived: bool = True,
) -> None:
    """Record the outcomes of events that were settled and counted before, and were sent again.

    Events are not counted again. Only these change: a dead letter that Segment took this time
    counts as forwarded, and a forwarded event that Segment refused this time is a dead letter.
    What was last sent about these users is forgotten, since it may have gone to a wrong source.
    Unless `has_arrived`, the acknowledged messages count as sent for the first time.
    """
    if has_arrived:
        counts = count_acknowledged(outcomes.acknowledged, at, is_again=lambda _: True)
    else:
        counts = _acknowledged(connection, stream_id, outcomes, at, None)
    add_acknowledged(connection, stream_id, counts)
    known = _read_dead_letters(
        connection, stream_id, [letter.event.log_id for letter in outcomes.dead_letters]
    )
    _insert_dead_letters(connection, stream_id, outcomes.dead_letters, at)
    keys = [identify_key(user.sent_as) for user in outcomes.pending_identifies]
    if keys:
        forget_keys(connection, stream_id, keys)
    record_last_sent(connection, stream_id, outcomes.fingerprints, at)
    record_pending(connection, stream_id, outcomes, at)
    replayed = _delete_dead_letters(connection, stream_id, outcomes.forwarded)
    add_tracks(connection, stream_id, outcomes.sent(replayed))
    for event in outcomes.forwarded:
        if event.log_id in replayed:
            change_outcome(connection, stream_id, event, DEAD_LETTERED, FORWARDED, at)
    for letter in outcomes.dead_letters:
        if letter.event.log_id not in known:
            change_outcome(connection, stream_id, letter.event, FORWARDED, DEAD_LETTERED, at)


def _acknowledged(
    connection: Connection,
    stream_id: int,
    outcomes: EventOutcomes,
    at: datetime,
    resent: LogRange | None,
) -> Counter[AcknowledgedKey]:
    """Count the acknowledged messages of a page, most of which were never sent before.

    Two kinds of them were sent before: the messages of events in `resent`, and the signup of a user
    of whom another event told a signup before. Call this before the fingerprints are recorded.
    """
    signups = ids_of_signups(outcomes.acknowledged)
    known = read_last_sent(connection, stream_id, signups, since=None) if signups else {}

    def is_again(message: Message) -> bool:
        is_resent = resent is not None and resent.after < message.log_id <= resent.until
        return is_resent or message.message_id in known

    return count_acknowledged(outcomes.acknowledged, at, is_again=is_again)


def _insert_dead_letters(
    connection: Connection, stream_id: int, letters: Iterable[DeadLetter], at: datetime
) -> None:
    """Record these dead letters. One that is recorded already stays as it is."""
    rows = [
        {
            "stream_id": stream_id,
            "log_id": letter.event.log_id,
            "type": letter.event.type,
            "reason": letter.reason,
            "status": letter.status,
            "event": canonical(letter.event.record),
            "dead_lettered_at": at,
        }
        for letter in letters
    ]
    if rows:
        row = upsert(schema.dead_letter, connection.dialect.name)
        connection.execute(row.on_conflict_do_nothing(), rows)


def _read_dead_letters(
    connection: Connection, stream_id: int, log_ids: Iterable[LogId]
) -> frozenset[LogId]:
    """Return the ids among these that are recorded as dead letters."""
    columns = schema.dead_letter.c
    query = select(columns.log_id).where(
        columns.stream_id == stream_id, columns.log_id.in_(log_ids)
    )
    return frozenset(connection.scalars(query))


def _delete_dead_letters(
    connection: Connection, stream_id: int, events: Iterable[LogEvent]
) -> frozenset[LogId]:
    """Delete the dead letters of these events. Return the ids of the deleted ones."""
    columns = schema.dead_letter.c
    ids = [event.log_id for event in events]
    letters = delete(schema.dead_letter).where(
        columns.stream_id == stream_id, columns.log_id.in_(ids)
    )
    return frozenset(connection.scalars(letters.returning(columns.log_id)))
