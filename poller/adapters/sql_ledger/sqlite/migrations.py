"""The version of the schema, and the steps from each earlier one to it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Connection, insert, inspect, select, text, update

from poller.adapters.sql_ledger.tables.counts import keep_counts
from poller.adapters.sql_ledger.tables.schema import metadata, version
from poller.core.errors import FatalError

Step = Callable[[Connection], None]


def _remember_what_was_said(connection: Connection) -> None:
    connection.execute(
        text(
            "CREATE TABLE said (stream_id INTEGER NOT NULL REFERENCES stream (id), key TEXT NOT NULL, "
            "fingerprint TEXT NOT NULL, said_at TEXT NOT NULL, PRIMARY KEY (stream_id, key)) WITHOUT ROWID"
        )
    )
    connection.execute(text("CREATE INDEX said_by_age ON said (stream_id, said_at)"))


_FOR_BACKFILLS = """
CREATE TABLE awaiting (
  stream_id INTEGER NOT NULL REFERENCES stream (id), user_id TEXT NOT NULL, sent_as TEXT NOT NULL,
  log_id TEXT NOT NULL, seen_at TEXT NOT NULL, PRIMARY KEY (stream_id, user_id, sent_as)
) WITHOUT ROWID;
CREATE TABLE revisit (
  id INTEGER NOT NULL PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream (id), after TEXT NOT NULL,
  reached TEXT NOT NULL, until TEXT NOT NULL, is_counted BOOLEAN NOT NULL,
  CONSTRAINT revisit_moves_up CHECK (reached >= after),
  CONSTRAINT revisit_stays_in_bound CHECK (reached <= until)
);
CREATE TABLE file (
  stream_id INTEGER NOT NULL REFERENCES stream (id), fingerprint TEXT NOT NULL, "offset" BIGINT NOT NULL,
  line BIGINT NOT NULL, settled_at TEXT NOT NULL, PRIMARY KEY (stream_id, fingerprint)
) WITHOUT ROWID
"""


def _make_room_for_backfills(connection: Connection) -> None:
    for statement in _FOR_BACKFILLS.split(";"):
        connection.execute(text(statement))


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


def _move_counts_of_1970(connection: Connection) -> None:
    """Counts events without a time in the stream's newest hour: they stood in one of 1970."""
    for statement in _COUNTS_OF_1970.split(";"):
        connection.execute(text(statement))


def _keep_last_words(connection: Connection) -> None:
    connection.execute(
        text(
            "CREATE TABLE last_words (id INTEGER NOT NULL PRIMARY KEY, at TEXT NOT NULL, error TEXT NOT NULL, "
            "hint TEXT NOT NULL)"
        )
    )


_COUNTS_BY_ORIGIN = """
ALTER TABLE tally RENAME TO tally_3;
CREATE TABLE tally (
  stream_id INTEGER NOT NULL REFERENCES stream (id), hour TEXT NOT NULL, type TEXT NOT NULL, outcome TEXT NOT NULL,
  origin TEXT NOT NULL, events INTEGER NOT NULL, PRIMARY KEY (stream_id, hour, type, outcome, origin)
) WITHOUT ROWID;
INSERT INTO tally (stream_id, hour, type, outcome, origin, events)
SELECT stream_id, hour, type, outcome, 'log', events FROM tally_3;
DROP TABLE tally_3
"""


def _count_by_origin(connection: Connection) -> None:
    """Tell counts of the log from those of files; what was counted so far counts as read from the log."""
    for statement in _COUNTS_BY_ORIGIN.split(";"):
        connection.execute(text(statement))


_FIND_DEAD_LETTERS = """
CREATE INDEX IF NOT EXISTS dead_letter_in_order
  ON dead_letter (log_id, stream_id, type, reason, status, buried_at);
CREATE INDEX IF NOT EXISTS dead_letter_by_age ON dead_letter (stream_id, buried_at)
"""


def _find_dead_letters(connection: Connection) -> None:
    for statement in _FIND_DEAD_LETTERS.split(";"):
        connection.execute(text(statement))


def _count_what_is_sent(connection: Connection) -> None:
    connection.execute(
        text(
            "CREATE TABLE sent (stream_id INTEGER NOT NULL REFERENCES stream (id), hour TEXT NOT NULL, "
            "type TEXT NOT NULL, name TEXT NOT NULL, origin TEXT NOT NULL, tracks INTEGER NOT NULL, "
            "PRIMARY KEY (stream_id, hour, type, name, origin)) WITHOUT ROWID"
        )
    )


_REPAIR_BEGINNINGS = """
DELETE FROM span WHERE after >= '900' AND after < '9002013' AND reached = after AND until IS NULL;
UPDATE span SET after = min(reached, coalesce((
  SELECT '900' || strftime('%Y%m%d%H%M%S', min(hour)) || printf('%039d', 0) FROM tally
  WHERE tally.stream_id = span.stream_id AND hour >= '2013'
), reached)) WHERE after >= '900' AND after < '9002013'
"""

_FOR_SECOND_READINGS = """
CREATE TABLE new_span (
  id INTEGER NOT NULL PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream (id), after TEXT NOT NULL,
  reached TEXT NOT NULL, until TEXT, confirmed TEXT NOT NULL, drained_at TEXT,
  CONSTRAINT span_moves_up CHECK (reached >= after),
  CONSTRAINT span_stays_in_bound CHECK (reached <= until),
  CONSTRAINT span_confirms_what_it_reached CHECK (confirmed <= reached),
  CONSTRAINT span_confirms_its_own CHECK (confirmed >= after)
);
INSERT INTO new_span
  SELECT id, stream_id, after, reached, until, max(after, coalesce(confirmed, reached)), drained_at FROM span;
DROP TABLE span;
ALTER TABLE new_span RENAME TO span;
CREATE UNIQUE INDEX one_live_span ON span (stream_id) WHERE until IS NULL;
CREATE TABLE new_gap (
  id INTEGER NOT NULL PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream (id), after TEXT NOT NULL,
  before TEXT NOT NULL, noticed_at TEXT NOT NULL, is_read_once BOOLEAN NOT NULL,
  UNIQUE (stream_id, after, is_read_once)
);
INSERT INTO new_gap SELECT id, stream_id, after, before, noticed_at, 0 FROM gap;
DROP TABLE gap;
ALTER TABLE new_gap RENAME TO gap;
CREATE TABLE unread (
  id INTEGER NOT NULL PRIMARY KEY, stream_id INTEGER NOT NULL REFERENCES stream (id), at TEXT NOT NULL,
  until TEXT NOT NULL, CONSTRAINT unread_is_not_empty CHECK (at < until)
);
ALTER TABLE stream ADD COLUMN live_after TEXT
"""


def _confirm_every_span(connection: Connection) -> None:
    """Give every span a `confirmed`, and make room for what second readings leave behind.

    A span that began below all ids is repaired here: the live one that settled nothing is
    removed, so that the next start chooses its beginning anew, and any other one begins with the
    oldest hour that was counted.
    """
    for statement in (*_REPAIR_BEGINNINGS.split(";"), *_FOR_SECOND_READINGS.split(";")):
        connection.execute(text(statement))
    _join_spans(connection)


def _join_spans(connection: Connection) -> None:
    """Join each finished span to the one that begins where it ends."""
    query = text(
        "SELECT lower.id AS gone, upper.id AS kept, lower.after AS after FROM span AS lower "
        "JOIN span AS upper ON upper.stream_id = lower.stream_id AND upper.after = lower.until "
        "WHERE lower.reached = lower.until LIMIT 1"
    )
    while (row := connection.execute(query).one_or_none()) is not None:
        connection.execute(text("DELETE FROM span WHERE id = :gone"), {"gone": row.gone})
        connection.execute(
            text("UPDATE span SET after = :after WHERE id = :kept"),
            {"after": row.after, "kept": row.kept},
        )


def _to_version_4(connection: Connection) -> None:
    _move_counts_of_1970(connection)
    _keep_last_words(connection)
    _count_by_origin(connection)
    _count_what_is_sent(connection)
    _find_dead_letters(connection)
    _confirm_every_span(connection)
    keep_counts(connection)  # last, since a table that is made anew has no triggers


STEPS: tuple[Step, ...] = (_remember_what_was_said, _make_room_for_backfills, _to_version_4)
"""The n-th takes version n to n+1, by SQL of its own: the tables in `schema` will be other ones by then."""


def read_version(connection: Connection) -> int | None:
    """The version of the schema; None where there are no tables at all.

    Raises:
        FatalError: there are tables, and they are no ledger's.
    """
    names = inspect(connection).get_table_names()
    if not names:
        return None
    found = connection.scalar(select(version.c.version)) if version.name in names else None
    if found is None:
        raise FatalError(
            "it is a database, but no ledger",
            hint="point [state] url at a file of the ledger's own",
        )
    return int(found)


def check_version(found: int, *, steps: Sequence[Step] = STEPS) -> None:
    """Raises:
    FatalError: the ledger was written by a later program.
    """
    known = 1 + len(steps)
    if found > known:
        raise FatalError(
            f"its schema is version {found}, and this program knows up to {known}",
            hint="a later version of the program wrote it: upgrade this one; nothing was changed",
        )


def newest_version() -> int:
    """Return the version that this program writes."""
    return 1 + len(STEPS)


class OlderLedgerError(FatalError):
    """The ledger was written by an earlier program, and may only be read once it is brought up."""

    def __init__(self, path: Path, found: int) -> None:
        super().__init__(
            f"ledger {path}: its schema is version {found}, and this program reads version {newest_version()}",
            hint="start the service once (or `run --once`): the start keeps a backup and brings the ledger up",
        )


def migrate(connection: Connection, *, steps: Sequence[Step] = STEPS) -> None:
    """Brings the schema to the newest version, within the transaction at hand.

    Raises:
        FatalError: it is no ledger, or that of a later program.
    """
    found = read_version(connection)
    if found is None:
        metadata.create_all(connection)
        keep_counts(connection)
        connection.execute(insert(version).values(version=1 + len(steps)))
        return
    check_version(found, steps=steps)
    for step in steps[found - 1 :]:
        step(connection)
    if found <= len(steps):
        connection.execute(update(version).values(version=1 + len(steps)))
