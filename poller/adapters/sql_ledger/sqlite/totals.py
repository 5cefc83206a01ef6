"""The triggers of SQLite that keep the totals of `tables.totals`."""

from sqlalchemy import Connection, text

_TABLES = (
    (
        "CREATE TABLE IF NOT EXISTS event_total (stream_id INTEGER NOT NULL "
        "REFERENCES stream (id), outcome TEXT NOT NULL, events INTEGER NOT NULL, "
        "PRIMARY KEY (stream_id, outcome)) WITHOUT ROWID"
    ),
    (
        "CREATE TABLE IF NOT EXISTS dead_letter_total (stream_id INTEGER NOT NULL "
        "REFERENCES stream (id), reason TEXT NOT NULL, dead_letters INTEGER NOT NULL, "
        "PRIMARY KEY (stream_id, reason)) WITHOUT ROWID"
    ),
)
_ADD_EVENTS = (
    "INSERT INTO event_total (stream_id, outcome, events) "
    "VALUES (new.stream_id, new.outcome, new.events) "
    "ON CONFLICT (stream_id, outcome) DO UPDATE SET events = events + excluded.events"
)
_SUBTRACT_EVENTS = (
    "UPDATE event_total SET events = events - old.events "
    "WHERE stream_id = old.stream_id AND outcome = old.outcome"
)
_ADD_DEAD_LETTER = (
    "INSERT INTO dead_letter_total (stream_id, reason, dead_letters) "
    "VALUES (new.stream_id, new.reason, 1) "
    "ON CONFLICT (stream_id, reason) DO UPDATE SET dead_letters = dead_letters + 1"
)
_SUBTRACT_DEAD_LETTER = (
    "UPDATE dead_letter_total SET dead_letters = dead_letters - 1 "
    "WHERE stream_id = old.stream_id AND reason = old.reason"
)
_TRIGGERS = tuple(
    f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {change} ON {table} BEGIN {statements}; END"
    for name, change, table, statements in (
        ("events_added", "INSERT", "hourly_event_count", _ADD_EVENTS),
        ("events_changed", "UPDATE", "hourly_event_count", f"{_SUBTRACT_EVENTS}; {_ADD_EVENTS}"),
        ("events_removed", "DELETE", "hourly_event_count", _SUBTRACT_EVENTS),
        ("dead_letter_added", "INSERT", "dead_letter", _ADD_DEAD_LETTER),
        (
            "dead_letter_changed",
            "UPDATE",
            "dead_letter",
            f"{_SUBTRACT_DEAD_LETTER}; {_ADD_DEAD_LETTER}",
        ),
        ("dead_letter_removed", "DELETE", "dead_letter", _SUBTRACT_DEAD_LETTER),
    )
)
_FIRST_COUNT = (
    "DELETE FROM event_total",
    (
        "INSERT INTO event_total SELECT stream_id, outcome, SUM(events) "
        "FROM hourly_event_count GROUP BY stream_id, outcome"
    ),
    "DELETE FROM dead_letter_total",
    (
        "INSERT INTO dead_letter_total SELECT stream_id, reason, COUNT(*) "
        "FROM dead_letter GROUP BY stream_id, reason"
    ),
)


def keep_totals(connection: Connection) -> None:
    """Count what the ledger holds, and let the database keep the totals from now on.

    Call this after the tables have their final form: a table that is made anew has no triggers.
    """
    for statement in (*_TABLES, *_TRIGGERS, *_FIRST_COUNT):
        connection.execute(text(statement))
