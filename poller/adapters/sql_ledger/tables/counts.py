"""Counts that the database keeps by itself, so that `status` need not count a million rows.

Triggers keep them, so that no statement that changes a row can forget its count.
"""

from sqlalchemy import Connection, select, text

from poller.adapters.sql_ledger.tables.schema import event_count, letter_count

_EVENT_COUNT = (
    "CREATE TABLE IF NOT EXISTS event_count (stream_id INTEGER NOT NULL REFERENCES stream (id), "
    "outcome TEXT NOT NULL, events INTEGER NOT NULL, PRIMARY KEY (stream_id, outcome)) WITHOUT ROWID"
)
_LETTER_COUNT = (
    "CREATE TABLE IF NOT EXISTS letter_count (stream_id INTEGER NOT NULL REFERENCES stream (id), "
    "reason TEXT NOT NULL, letters INTEGER NOT NULL, PRIMARY KEY (stream_id, reason)) WITHOUT ROWID"
)
_ADD_EVENTS = (
    "INSERT INTO event_count (stream_id, outcome, events) VALUES (new.stream_id, new.outcome, new.events) "
    "ON CONFLICT (stream_id, outcome) DO UPDATE SET events = events + excluded.events"
)
_ADD_LETTER = (
    "INSERT INTO letter_count (stream_id, reason, letters) VALUES (new.stream_id, new.reason, 1) "
    "ON CONFLICT (stream_id, reason) DO UPDATE SET letters = letters + 1"
)
_TAKE_EVENTS = (
    "UPDATE event_count SET events = events - old.events "
    "WHERE stream_id = old.stream_id AND outcome = old.outcome"
)
_TAKE_LETTER = (
    "UPDATE letter_count SET letters = letters - 1 "
    "WHERE stream_id = old.stream_id AND reason = old.reason"
)
_TRIGGERS = {
    "events_counted": f"AFTER INSERT ON tally BEGIN {_ADD_EVENTS}; END",
    "events_recounted": f"AFTER UPDATE ON tally BEGIN {_TAKE_EVENTS}; {_ADD_EVENTS}; END",
    "events_uncounted": f"AFTER DELETE ON tally BEGIN {_TAKE_EVENTS}; END",
    "letters_counted": f"AFTER INSERT ON dead_letter BEGIN {_ADD_LETTER}; END",
    "letters_recounted": f"AFTER UPDATE ON dead_letter BEGIN {_TAKE_LETTER}; {_ADD_LETTER}; END",
    "letters_uncounted": f"AFTER DELETE ON dead_letter BEGIN {_TAKE_LETTER}; END",
}
_FILL = (
    "DELETE FROM event_count",
    "INSERT INTO event_count SELECT stream_id, outcome, SUM(events) FROM tally GROUP BY stream_id, outcome",
    "DELETE FROM letter_count",
    "INSERT INTO letter_count SELECT stream_id, reason, COUNT(*) FROM dead_letter GROUP BY stream_id, reason",
)


def keep_counts(connection: Connection) -> None:
    """Make the counts from what is there, and let the database keep them from now on."""
    triggers = (f"CREATE TRIGGER IF NOT EXISTS {name} {does}" for name, does in _TRIGGERS.items())
    for statement in (_EVENT_COUNT, _LETTER_COUNT, *triggers, *_FILL):
        connection.execute(text(statement))


def events_by_outcome(connection: Connection, stream_id: int) -> dict[str, int]:
    """Return how many events of the stream had each outcome, over all time."""
    query = select(event_count.c.outcome, event_count.c.events).where(
        event_count.c.stream_id == stream_id
    )
    return {outcome: int(events) for outcome, events in connection.execute(query)}


def letters_by_reason(connection: Connection, stream_id: int) -> dict[str, int]:
    """Return how many dead letters of the stream there are, by reason code."""
    columns = letter_count.c
    query = select(columns.reason, columns.letters).where(
        columns.stream_id == stream_id, columns.letters > 0
    )
    return {
        reason: int(letters)
        for reason, letters in connection.execute(query.order_by(columns.reason))
    }
