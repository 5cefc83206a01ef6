"""A position moved by hand: what was settled stays settled, what is skipped stays in no span."""

from sqlalchemy import Connection, delete, insert, update

from poller.adapters.sql_ledger import rows, schema, sqlite
from poller.adapters.sql_ledger.database import Database
from poller.core.errors import FatalError
from poller.core.events import LogId, Span, Stream


def set_position(url: str, stream: Stream, position: LogId) -> Span:
    """Lets the live span of `stream` go on at `position`; returns the span as it is then.

    What it had settled below becomes a span of its own, with an end. Forward, the stretch between belongs to no span,
    so that a backfill finds it; backward, what lies above is sent again, under the same message ids. To be called
    with the lock of `run` held.

    Raises:
        FatalError: there is no such stream or live span, or the position lies in a stretch of another span.
        TransientError: locked.
    """
    database = Database.open(sqlite.ledger_path(url), create=False)
    try:
        with database.writing() as connection:
            return _move(connection, stream, position)
    finally:
        database.close()


def _move(connection: Connection, stream: Stream, position: LogId) -> Span:
    key = rows.streams(connection).get(stream)
    spans = () if key is None else rows.spans(connection, stream, key)
    live = next((span for span in spans if span.is_live), None)
    if key is None or live is None:
        raise FatalError(f"nothing of {rows.named(stream)} has been begun", hint="`run` begins it, at [poll] start")
    for other in spans:
        if not other.is_live and other.until is not None and other.until > position:
            raise FatalError(
                f"{position} lies below the end of the span above {other.after}",
                hint=f"a live span begins at {other.until} or above; what lies below is a backfill's",
            )
    _close(connection, live, min(live.reached, position))
    old = schema.recent_id.c
    connection.execute(delete(schema.recent_id).where(old.stream_id == key, old.log_id > position))
    values = {"stream_id": key, "after": position, "reached": position, "until": None}
    row = connection.execute(insert(schema.span).values(values).returning(schema.span)).one()
    return rows.span(row, stream)


def _close(connection: Connection, live: Span, end: LogId) -> None:
    """Ends the live span where it settled to, or removes it if that is nothing."""
    same = schema.span.c.id == live.id
    if end > live.after:
        ended = {"reached": end, "until": end, "confirmed": None}
        connection.execute(update(schema.span).where(same).values(ended))
    else:
        connection.execute(delete(schema.span).where(same))
