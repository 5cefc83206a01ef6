"""Users whose tracks a backfill sent, and who still need an identify at its end."""

from collections.abc import Iterable
from datetime import datetime
from functools import cache

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select
from sqlalchemy.dialects.sqlite import Insert

from poller.adapters.sql_ledger.sqlite.driver import upsert
from poller.adapters.sql_ledger.tables import schema
from poller.core.outcomes import PendingIdentify, QueuedIdentify


def record_pending(
    connection: Connection, stream_id: int, pending: Iterable[PendingIdentify], at: datetime
) -> None:
    """Record that these users need an identify.

    A user who is recorded already keeps the time since which the identify is pending, and takes
    the newer of the two events.
    """
    rows = [
        {
            "stream_id": stream_id,
            "user_id": user.user_id,
            "sent_as": user.sent_as,
            "log_id": user.log_id,
            "queued_at": at,
        }
        for user in pending
    ]
    if rows:
        connection.execute(_record(), rows)


@cache
def _record() -> Insert:
    row = upsert(schema.pending_identify)
    return row.on_conflict_do_update(
        index_elements=["stream_id", "user_id", "sent_as"],
        set_={"log_id": row.excluded.log_id},
        where=row.excluded.log_id > schema.pending_identify.c.log_id,
    )


def read_pending(
    connection: Connection, stream_id: int, after: tuple[str, str], limit: int
) -> tuple[QueuedIdentify, ...]:
    """Return up to `limit` users above `after`, in the order of (user id, id sent to Segment)."""
    columns = schema.pending_identify.c
    user_id, sent_as = after
    is_above = or_(
        columns.user_id > user_id, and_(columns.user_id == user_id, columns.sent_as > sent_as)
    )
    query = select(schema.pending_identify).where(columns.stream_id == stream_id, is_above)
    rows = connection.execute(query.order_by(columns.user_id, columns.sent_as).limit(limit))
    return tuple(
        QueuedIdentify(
            who=PendingIdentify(user_id=row.user_id, sent_as=row.sent_as, log_id=row.log_id),
            queued_at=row.queued_at,
        )
        for row in rows
    )


def count_pending(connection: Connection, stream_id: int) -> int:
    """Return the number of pending identifies."""
    query = select(func.count()).where(schema.pending_identify.c.stream_id == stream_id)
    return int(connection.scalar(query) or 0)


def remove_sent(connection: Connection, stream_id: int, sent: Iterable[PendingIdentify]) -> None:
    """Delete these identifies. One stays if a newer event of its user came in the meantime."""
    columns = schema.pending_identify.c
    same = [
        and_(
            columns.user_id == user.user_id,
            columns.sent_as == user.sent_as,
            columns.log_id == user.log_id,
        )
        for user in sent
    ]
    if same:
        connection.execute(
            delete(schema.pending_identify).where(columns.stream_id == stream_id, or_(*same))
        )


def of_person(stream_id: int, user_id: str) -> ColumnElement[bool]:
    """Return the condition for the identifies of one person, under either of the two ids."""
    columns = schema.pending_identify.c
    is_person = or_(columns.user_id == user_id, columns.sent_as == user_id)
    return and_(columns.stream_id == stream_id, is_person)
