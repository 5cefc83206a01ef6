"""A position moved by hand: what was settled stays settled, what is skipped stays in no span."""

from sqlalchemy import Connection, delete, insert, update

from poller.adapters.sql_ledger import settle
from poller.adapters.sql_ledger.sqlite import driver
from poller.adapters.sql_ledger.sqlite.database import Database
from poller.adapters.sql_ledger.tables import revisits, rows, schema, unread
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import LogId, successor
from poller.core.spans import Span


def set_position(url: str, stream: Stream, position: LogId) -> Span:
    """Lets the live span of `stream` go on at `position`; returns the span as it is then.

    What it had settled below becomes a span of its own, with an end. Forward, the stretch between belongs to no span,
    so that a backfill finds it; backward, what lies above is sent again, under the same message ids. To be called
    with the lock of `run` held.

    Raises:
        FatalError: there is no such stream or live span, or the position lies in a stretch of another span.
        TransientError: locked.
    """
    database = Database.open(driver.ledger_path(url), create=False)
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
        raise FatalError(
            f"nothing of {rows.named(stream)} has been begun",
            code="stream-unknown",
            hint="`run` begins it, at [poll] start",
        )
    for other in spans:
        if not other.is_live and other.until is not None and other.until > position:
            raise FatalError(
                f"{position} lies below the end of the span above {other.after}",
                code="position-settled",
                hint=f"a live span begins at {other.until} or above; what lies below is a backfill's",
            )
    if position < live.reached:
        _cut_above(connection, key, position)
    _close(connection, key, live, min(live.reached, position))
    values = {"after": position, "reached": position, "confirmed": position, "until": None}
    new = insert(schema.span).values(stream_id=key, **values)
    row = connection.execute(new.returning(schema.span.c.id)).one()
    settle.join(connection, stream, key)
    return next(span for span in rows.spans(connection, stream, key) if span.id == row.id)


def _close(connection: Connection, stream_id: int, live: Span, end: LogId) -> None:
    """End the live span at `end`, or remove it if it settled nothing up to there.

    What was settled and not yet confirmed is left as an unread stretch.
    """
    same = schema.span.c.id == live.id
    if end > live.after:
        if live.confirmed < end:
            unread.begin(connection, stream_id, live.confirmed, end)
        ended = {"reached": end, "until": end, "confirmed": end}
        connection.execute(update(schema.span).where(same).values(ended))
    else:
        connection.execute(delete(schema.span).where(same))


def _cut_above(connection: Connection, stream_id: int, position: LogId) -> None:
    """Forget what is known of the log above the position, since it is read anew from there."""
    ids, gaps = schema.recent_id.c, schema.gap.c
    connection.execute(
        delete(schema.recent_id).where(ids.stream_id == stream_id, ids.log_id > position)
    )
    mine = gaps.stream_id == stream_id
    end = successor(position)
    connection.execute(delete(schema.gap).where(mine, gaps.after >= position))
    connection.execute(update(schema.gap).where(mine, gaps.before > end).values(before=end))
    unread.cut(connection, stream_id, position)
    revisits.cut_off(connection, stream_id, position)
