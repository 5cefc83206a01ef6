"""The tables of a ledger in PostgreSQL, and the triggers that keep the totals."""

from sqlalchemy import Connection, insert, text

from poller.adapters.sql_ledger.schema_version import VERSION
from poller.adapters.sql_ledger.tables.schema import metadata, one_live_span, span, version

_COUNT_EVENTS = """
CREATE FUNCTION ledger_count_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    UPDATE event_total SET events = events - old.events
      WHERE stream_id = old.stream_id AND outcome = old.outcome;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO event_total AS total (stream_id, outcome, events)
      VALUES (new.stream_id, new.outcome, new.events)
      ON CONFLICT (stream_id, outcome) DO UPDATE SET events = total.events + excluded.events;
  END IF;
  RETURN NULL;
END $$
"""
_COUNT_DEAD_LETTERS = """
CREATE FUNCTION ledger_count_dead_letters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP <> 'INSERT' THEN
    UPDATE dead_letter_total SET dead_letters = dead_letters - 1
      WHERE stream_id = old.stream_id AND reason = old.reason;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO dead_letter_total AS total (stream_id, reason, dead_letters)
      VALUES (new.stream_id, new.reason, 1)
      ON CONFLICT (stream_id, reason) DO UPDATE SET dead_letters = total.dead_letters + 1;
  END IF;
  RETURN NULL;
END $$
"""
_TRIGGERS = tuple(
    f"CREATE TRIGGER {name} AFTER INSERT OR UPDATE OR DELETE ON {table} "
    f"FOR EACH ROW EXECUTE FUNCTION {function}()"
    for name, table, function in (
        ("events_counted", "hourly_event_count", "ledger_count_events"),
        ("dead_letters_counted", "dead_letter", "ledger_count_dead_letters"),
    )
)


def create_tables(connection: Connection) -> None:
    """Create the tables of the newest version, within the current transaction."""
    one_live_span.dialect_options["postgresql"]["where"] = span.c.until.is_(None)
    metadata.create_all(connection)
    for statement in (_COUNT_EVENTS, _COUNT_DEAD_LETTERS, *_TRIGGERS):
        connection.execute(text(statement))
    connection.execute(insert(version).values(version=VERSION))
