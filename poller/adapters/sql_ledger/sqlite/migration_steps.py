"""The steps that bring the schema of an older ledger to the next version.

Each step has its own SQL. It never uses the tables in `schema`, which describe the newest version:
a later change of a table would change the step. SQLite cannot change a constraint of a table. To
change one, a step makes a new table, copies the rows, and gives the new table the old name.
"""

from collections.abc import Callable

from sqlalchemy import Connection, text

from poller.adapters.sql_ledger.sqlite.totals import keep_totals

Step = Callable[[Connection], None]

_LAST_SENT = """
CREATE TABLE said (
  stream_id INTEGER NOT NULL REFERENCES stream (id), key TEXT NOT NULL,
  fingerprint TEXT NOT NULL, said_at TEXT NOT NULL, PRIMARY KEY (stream_id, key)
) WITHOUT ROWID;
CREATE INDEX said_by_age ON said (stream_id, said_at)
"""

_BACKFILLS = """
CREATE TABLE awaiting (
  stream_id INTEGER NOT NULL REFERENCES stream (id), user_id TEXT NOT NULL, sent_as TEXT NOT NULL,
  log_id TEXT NOT NULL, seen_at TEXT NOT NULL, PRIMARY KEY (stream_id, user_id, sent_as)
) WITHOUT ROWID;
CREATE TABLE revisit (
  id INTEGER NOT NULL PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream (id),
  after TEXT NOT NULL, reached TEXT NOT NULL, until TEXT NOT NULL, is_counted BOOLEAN NOT NULL,
  CONSTRAINT revisit_moves_up CHECK (reached >= after),
  CONSTRAINT revisit_stays_in_bound CHECK (reached <= until)
);
CREATE TABLE file (
  stream_id INTEGER NOT NULL REFERENCES stream (id), fingerprint TEXT NOT NULL,
  "offset" BIGINT NOT NULL, line BIGINT NOT NULL, settled_at TEXT NOT NULL,
  PRIMARY KEY (stream_id, fingerprint)
) WITHOUT ROWID
"""

# Version 3 counted an event without a time in an hour of 1970.
_COUNTS_OF_1970 = """
INSERT INTO tally (stream_id, hour, type, outcome, events)
SELECT old.stream_id, new.hour, old.type, old.outcome, SUM(old.events)
FROM tally AS old JOIN (
  SELECT stream_id, MAX(hour) AS hour FROM tally WHERE hour >= '2013' GROUP BY stream_id
) AS new ON new.stream_id = old.stream_id
WHERE old.hour < '2013'
GROUP BY old.stream_id, new.hour, old.type, old.outcome
ON CONFLICT (stream_id, hour, type, outcome) DO UPDATE SET events = tally.events + excluded.events;
DELETE FROM tally WHERE hour < '2013'
"""

# Up to version 3 a count did not tell the log from files. Such a count is taken for the log's.
_HOURLY_COUNTS = """
CREATE TABLE hourly_event_count (
  stream_id INTEGER NOT NULL REFERENCES stream (id), hour TEXT NOT NULL, type TEXT NOT NULL,
  outcome TEXT NOT NULL, origin TEXT NOT NULL, events INTEGER NOT NULL,
  PRIMARY KEY (stream_id, hour, type, outcome, origin)
) WITHOUT ROWID;
INSERT INTO hourly_event_count (stream_id, hour, type, outcome, origin, events)
  SELECT stream_id, hour, type, outcome, 'log', events FROM tally;
DROP TABLE tally;
CREATE TABLE hourly_track_count (
  stream_id INTEGER NOT NULL REFERENCES stream (id), hour TEXT NOT NULL, type TEXT NOT NULL,
  track_name TEXT NOT NULL, origin TEXT NOT NULL, tracks INTEGER NOT NULL,
  PRIMARY KEY (stream_id, hour, type, track_name, origin)
) WITHOUT ROWID
"""

# Up to version 3 a span could begin below all ids. A live span that settled nothing is removed,
# so the next start chooses its beginning anew. Any other one begins with the oldest hour
# that was counted.
_BEGINNINGS_OF_SPANS = """
DELETE FROM span
  WHERE after >= '900' AND after < '9002013' AND reached = after AND until IS NULL;
UPDATE span SET after = min(reached, coalesce((
  SELECT '900' || strftime('%Y%m%d%H%M%S', min(hour)) || printf('%039d', 0)
  FROM hourly_event_count
  WHERE hourly_event_count.stream_id = span.stream_id AND hour >= '2013'
), reached)) WHERE after >= '900' AND after < '9002013'
"""

_SECOND_READINGS = """
CREATE TABLE new_span (
  id INTEGER NOT NULL PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream (id),
  after TEXT NOT NULL, reached TEXT NOT NULL, until TEXT, confirmed TEXT NOT NULL, drained_at TEXT,
  CONSTRAINT span_moves_up CHECK (reached >= after),
  CONSTRAINT span_stays_in_bound CHECK (reached <= until),
  CONSTRAINT span_confirms_what_it_reached CHECK (confirmed <= reached),
  CONSTRAINT span_confirms_its_own CHECK (confirmed >= after)
);
INSERT INTO new_span
  SELECT id, stream_id, after, reached, until, max(after, coalesce(confirmed, reached)), drained_at
  FROM span;
DROP TABLE span;
ALTER TABLE new_span RENAME TO span;
CREATE UNIQUE INDEX one_live_span ON span (stream_id) WHERE until IS NULL;
CREATE TABLE new_gap (
  id INTEGER NOT NULL PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream (id),
  after TEXT NOT NULL, before TEXT NOT NULL, noticed_at TEXT NOT NULL,
  is_read_once BOOLEAN NOT NULL, UNIQUE (stream_id, after, is_read_once)
);
INSERT INTO new_gap SELECT id, stream_id, after, before, noticed_at, 0 FROM gap;
DROP TABLE gap;
ALTER TABLE new_gap RENAME TO gap;
CREATE TABLE unread_stretch (
  id INTEGER NOT NULL PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream (id),
  reached TEXT NOT NULL, until TEXT NOT NULL,
  CONSTRAINT unread_stretch_is_not_empty CHECK (reached < until)
);
ALTER TABLE stream ADD COLUMN backfilled_until TEXT
"""

_KEY_CHECKS = """
CREATE TABLE key_check (
  key_hash TEXT NOT NULL PRIMARY KEY, state TEXT NOT NULL, checked_at TEXT NOT NULL
) WITHOUT ROWID
"""

_FATAL_EXIT = """
CREATE TABLE fatal_exit (
  id INTEGER NOT NULL PRIMARY KEY, at TEXT NOT NULL, code TEXT NOT NULL,
  error TEXT NOT NULL, hint TEXT NOT NULL
)
"""

# Messages that an older program sent were not counted. The time is this machine's.
_ACKNOWLEDGED_COUNTS = """
CREATE TABLE hourly_acknowledged_count (
  stream_id INTEGER NOT NULL REFERENCES stream (id), hour TEXT NOT NULL, kind TEXT NOT NULL,
  event TEXT NOT NULL, sending TEXT NOT NULL, messages INTEGER NOT NULL,
  PRIMARY KEY (stream_id, hour, kind, event, sending)
) WITHOUT ROWID;
ALTER TABLE stream ADD COLUMN acknowledged_since TEXT;
UPDATE stream SET acknowledged_since = strftime('%Y-%m-%dT%H:%M:%f000+00:00');
ALTER TABLE stream ADD COLUMN resent_after TEXT;
ALTER TABLE stream ADD COLUMN resent_until TEXT
"""

_PLAIN_NAMES = """
ALTER TABLE said RENAME TO last_sent;
ALTER TABLE last_sent RENAME COLUMN said_at TO sent_at;
DROP INDEX said_by_age;
CREATE INDEX last_sent_by_age ON last_sent (stream_id, sent_at);
ALTER TABLE awaiting RENAME TO pending_identify;
ALTER TABLE pending_identify RENAME COLUMN seen_at TO queued_at;
ALTER TABLE file RENAME TO file_mark;
ALTER TABLE file_mark RENAME COLUMN fingerprint TO content_hash;
ALTER TABLE journal RENAME TO daemon_status;
ALTER TABLE daemon_status ADD COLUMN blocked_code TEXT;
ALTER TABLE dead_letter RENAME COLUMN buried_at TO dead_lettered_at;
CREATE INDEX dead_letter_in_order
  ON dead_letter (log_id, stream_id, type, reason, status, dead_lettered_at);
CREATE INDEX dead_letter_by_age ON dead_letter (stream_id, dead_lettered_at);
CREATE TABLE new_revisit (
  id INTEGER NOT NULL PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream (id),
  after TEXT NOT NULL, reached TEXT NOT NULL, until TEXT NOT NULL, kind TEXT NOT NULL,
  CONSTRAINT revisit_moves_up CHECK (reached >= after),
  CONSTRAINT revisit_stays_in_bound CHECK (reached <= until)
);
INSERT INTO new_revisit
  SELECT id, stream_id, after, reached, until, iif(is_counted, 'reopened_gap', 'resend')
  FROM revisit;
DROP TABLE revisit;
ALTER TABLE new_revisit RENAME TO revisit
"""

_CATCH_UPS = """
ALTER TABLE span ADD COLUMN is_catch_up BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE pending_identify ADD COLUMN is_catch_up BOOLEAN NOT NULL DEFAULT 0;
ALTER TABLE pending_identify ADD COLUMN owner TEXT NOT NULL DEFAULT 'backfill';
ALTER TABLE daemon_status ADD COLUMN catch_up_since TEXT;
ALTER TABLE daemon_status ADD COLUMN catch_up_error TEXT
"""
_BEGINNING_OF_STREAM = "ALTER TABLE stream ADD COLUMN begun_after TEXT"
_NAMES_IN_IDS = """
CREATE TABLE names_in_ids (
  stream_id INTEGER NOT NULL REFERENCES stream (id), after TEXT NOT NULL,
  source_name TEXT NOT NULL, generation TEXT NOT NULL, PRIMARY KEY (stream_id, after)
) WITHOUT ROWID
"""
_FENCES = """
ALTER TABLE stream ADD COLUMN last_fence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE span ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE unread_stretch ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE revisit ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pending_identify ADD COLUMN fence INTEGER NOT NULL DEFAULT 0
"""

_ROUTING = """
CREATE TABLE routing (
  id INTEGER NOT NULL PRIMARY KEY, domain TEXT NOT NULL, file TEXT NOT NULL, "after" TEXT,
  routes TEXT NOT NULL, unread TEXT NOT NULL, read_again TEXT NOT NULL, settled TEXT NOT NULL,
  former TEXT NOT NULL
);
CREATE INDEX routing_of_file ON routing (domain, file)
"""

# An older program recorded one error of the whole ledger. The process that upgrades it begins anew.
_FATAL_EXITS = """
DROP TABLE fatal_exit;
CREATE TABLE fatal_exit (
  domain TEXT NOT NULL, source_name TEXT NOT NULL, generation TEXT NOT NULL, at TEXT NOT NULL,
  code TEXT NOT NULL, error TEXT NOT NULL, hint TEXT NOT NULL,
  PRIMARY KEY (domain, source_name, generation)
) WITHOUT ROWID
"""

_ALERTS = """
CREATE TABLE alert_memory (
  stream_id INTEGER NOT NULL REFERENCES stream (id), kind TEXT NOT NULL, since TEXT,
  number INTEGER NOT NULL, detail TEXT NOT NULL, section TEXT NOT NULL, is_told BOOLEAN NOT NULL,
  told_at TEXT, held_back INTEGER NOT NULL, mark TEXT NOT NULL, PRIMARY KEY (stream_id, kind)
) WITHOUT ROWID;
CREATE TABLE queued_alert (
  stream_id INTEGER NOT NULL REFERENCES stream (id), number INTEGER NOT NULL,
  target TEXT NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL,
  severity TEXT NOT NULL, attempts INTEGER NOT NULL, due_at TEXT NOT NULL, dropped INTEGER NOT NULL,
  PRIMARY KEY (stream_id, number)
) WITHOUT ROWID
"""


def _to_version_2(connection: Connection) -> None:
    _run(connection, _LAST_SENT)


def _to_version_3(connection: Connection) -> None:
    _run(connection, _BACKFILLS)


def _to_version_4(connection: Connection) -> None:
    for script in (
        _COUNTS_OF_1970,
        _HOURLY_COUNTS,
        _BEGINNINGS_OF_SPANS,
        _SECOND_READINGS,
        _FATAL_EXIT,
        _KEY_CHECKS,
        _PLAIN_NAMES,
    ):
        _run(connection, script)
    _join_spans(connection)
    # Triggers belong to a table and vanish when the table is made anew, so they come last.
    keep_totals(connection)


def _to_version_5(connection: Connection) -> None:
    for script in (
        _CATCH_UPS,
        _BEGINNING_OF_STREAM,
        _NAMES_IN_IDS,
        _ACKNOWLEDGED_COUNTS,
        _FATAL_EXITS,
        _ALERTS,
        _FENCES,
        _ROUTING,
    ):
        _run(connection, script)


STEPS: tuple[Step, ...] = (_to_version_2, _to_version_3, _to_version_4, _to_version_5)
"""The first step brings version 1 to version 2, and so on. To change the schema, add a step."""


def _run(connection: Connection, script: str) -> None:
    for statement in script.split(";"):
        connection.execute(text(statement))


def _join_spans(connection: Connection) -> None:
    """Join each finished span to the span that begins where it ends."""
    query = text(
        "SELECT lower.id AS joined, upper.id AS kept, lower.after AS after FROM span AS lower "
        "JOIN span AS upper ON upper.stream_id = lower.stream_id AND upper.after = lower.until "
        "WHERE lower.reached = lower.until LIMIT 1"
    )
    while (row := connection.execute(query).one_or_none()) is not None:
        connection.execute(text("DELETE FROM span WHERE id = :joined"), {"joined": row.joined})
        connection.execute(
            text("UPDATE span SET after = :after WHERE id = :kept"),
            {"after": row.after, "kept": row.kept},
        )
