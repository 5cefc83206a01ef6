"""Ledger files for tests: opened, filled, and as older versions left them."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from poller.adapters.sql_ledger.counts_reader import CountsReader
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.errors import PollerError
from poller.core.log_ids import EARLIEST
from tests.builders import live_of, page, settlement
from tests.fakes import STREAM


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@contextlib.contextmanager
def opened(path: Path, *, create: bool = True, adopt: bool = False) -> Iterator[SqlLedger]:
    ledger = SqlLedger.open(url(path), STREAM, create=create, adopt=adopt)
    try:
        yield ledger
    finally:
        ledger.close()


def forwarded(path: Path, *numbers: int) -> None:
    """Settle these events in the ledger, and create the ledger if there is none."""
    with opened(path) as ledger:
        span = live_of(ledger) or ledger.begin(after=EARLIEST)
        ledger.settle(settlement(span, page(*numbers)))


@contextlib.contextmanager
def reading(path: Path) -> Iterator[CountsReader]:
    reader = CountsReader.open(url(path))
    try:
        yield reader
    finally:
        reader.close()


def said(error: PollerError) -> str:
    return f"{error} {getattr(error, 'hint', '')}"


VERSION_4 = 4
LATER: dict[int, tuple[str, ...]] = {
    1: ("said", "awaiting", "revisit", "file"),
    2: ("awaiting", "revisit", "file"),
    3: (),
    VERSION_4: (),
}
"""The tables of version 3 that a ledger of an older version did not have."""
TABLES_OF_VERSION_4 = """
DELETE FROM span; ALTER TABLE span DROP COLUMN is_catch_up;
DROP TABLE fatal_exit; CREATE TABLE fatal_exit (
  id INTEGER NOT NULL PRIMARY KEY, at TEXT NOT NULL, code TEXT NOT NULL,
  error TEXT NOT NULL, hint TEXT NOT NULL
);
DROP TABLE names_in_ids; DROP TABLE alert_memory; DROP TABLE queued_alert; DROP TABLE routing;
ALTER TABLE stream DROP COLUMN begun_after; ALTER TABLE stream DROP COLUMN last_fence;
ALTER TABLE span DROP COLUMN fence; ALTER TABLE unread_stretch DROP COLUMN fence;
ALTER TABLE revisit DROP COLUMN fence; ALTER TABLE pending_identify DROP COLUMN fence;
ALTER TABLE stream DROP COLUMN acknowledged_since;
ALTER TABLE stream DROP COLUMN resent_after; ALTER TABLE stream DROP COLUMN resent_until;
DROP TABLE hourly_acknowledged_count;
ALTER TABLE pending_identify DROP COLUMN is_catch_up;
ALTER TABLE pending_identify DROP COLUMN owner;
ALTER TABLE daemon_status DROP COLUMN catch_up_since;
ALTER TABLE daemon_status DROP COLUMN catch_up_error;
"""
TABLES_OF_VERSION_3 = """
DROP TRIGGER dead_letter_added; DROP TRIGGER dead_letter_changed; DROP TRIGGER dead_letter_removed;
DROP INDEX dead_letter_in_order; DROP INDEX dead_letter_by_age;
ALTER TABLE dead_letter RENAME COLUMN dead_lettered_at TO buried_at;
ALTER TABLE last_sent RENAME TO said; ALTER TABLE said RENAME COLUMN sent_at TO said_at;
DROP INDEX last_sent_by_age; CREATE INDEX said_by_age ON said (stream_id, said_at);
ALTER TABLE pending_identify RENAME TO awaiting;
ALTER TABLE awaiting RENAME COLUMN queued_at TO seen_at;
ALTER TABLE file_mark RENAME TO file; ALTER TABLE file RENAME COLUMN content_hash TO fingerprint;
ALTER TABLE daemon_status RENAME TO journal; ALTER TABLE journal DROP COLUMN blocked_code;
ALTER TABLE stream DROP COLUMN backfilled_until;
CREATE TABLE tally (
  stream_id INTEGER NOT NULL REFERENCES stream (id), hour TEXT NOT NULL, type TEXT NOT NULL,
  outcome TEXT NOT NULL, events INTEGER NOT NULL, PRIMARY KEY (stream_id, hour, type, outcome)
) WITHOUT ROWID;
INSERT INTO tally SELECT stream_id, hour, type, outcome, events FROM hourly_event_count;
DROP TABLE hourly_event_count; DROP TABLE hourly_track_count; DROP TABLE unread_stretch;
DROP TABLE event_total; DROP TABLE dead_letter_total; DROP TABLE fatal_exit;
DROP TABLE key_check;
DROP TABLE span; DROP TABLE gap; DROP TABLE revisit;
CREATE TABLE span (
  id INTEGER NOT NULL PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream (id),
  after TEXT NOT NULL, reached TEXT NOT NULL, until TEXT, confirmed TEXT, drained_at TEXT,
  CONSTRAINT span_moves_up CHECK (reached >= after),
  CONSTRAINT span_stays_in_bound CHECK (reached <= until),
  CONSTRAINT span_confirms_what_it_reached CHECK (confirmed <= reached)
);
CREATE UNIQUE INDEX one_live_span ON span (stream_id) WHERE until IS NULL;
CREATE TABLE gap (
  id INTEGER NOT NULL PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream (id),
  after TEXT NOT NULL, before TEXT NOT NULL, noticed_at TEXT NOT NULL, UNIQUE (stream_id, after)
);
CREATE TABLE revisit (
  id INTEGER NOT NULL PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream (id),
  after TEXT NOT NULL, reached TEXT NOT NULL, until TEXT NOT NULL, is_counted BOOLEAN NOT NULL
);
"""


def as_of_version(
    connection: sqlite3.Connection, version: int, spans: list[tuple[str | None, ...]]
) -> None:
    """Turn a ledger into one of an older version, with these spans.

    A span is its `after`, `reached`, `until` and `confirmed`.
    """
    connection.executescript(TABLES_OF_VERSION_4)
    if version < VERSION_4:
        connection.executescript(TABLES_OF_VERSION_3)
    for table in LATER[version]:
        connection.execute(f"DROP TABLE {table}")
    for span in spans:
        connection.execute("INSERT INTO span VALUES (NULL, 1, ?, ?, ?, ?, NULL)", span)
    connection.execute("UPDATE ledger_version SET version = ?", (version,))


def shape(connection: sqlite3.Connection) -> dict[str, list[object]]:
    """Return the columns and indexes of every table."""
    tables = [
        name
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    ]
    return {
        table: [
            *(row[1:4] + row[5:] for row in connection.execute(f"PRAGMA table_info({table})")),
            *sorted(row[1:4] for row in connection.execute(f"PRAGMA index_list({table})")),
        ]
        for table in sorted(tables)
    }
