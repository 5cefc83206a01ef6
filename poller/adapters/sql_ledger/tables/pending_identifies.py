"""Users whose tracks a backfill or a catch-up sent, and who still need an identify at its end.

The daemon sends the identifies of its catch-up, and a backfill sends those of its slices. Each
row names its owner. If the owner does not run, the other one may take over the row. So two
processes that run at once never identify one user for the same row.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Row,
    Update,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import Insert

from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.upsert import upsert
from poller.core.log_ids import moment_of
from poller.core.outcomes import PendingIdentify, QueuedIdentify
from poller.core.settlement import EventOutcomes


def record_pending(
    connection: Connection, stream_id: int, outcomes: EventOutcomes, at: datetime
) -> None:
    """Record the users of these events who need an identify.

    A user who is recorded already keeps the time since which the identify is pending, and takes
    the newer of the two events. The owner stays too.
    """
    # The table's own defaults are those of a backfill. A row with fewer columns is bound sooner.
    of_daemon = {"is_catch_up": True, "owner": "run"} if outcomes.is_catch_up else {}
    rows = [
        {
            "stream_id": stream_id,
            "user_id": user.user_id,
            "sent_as": user.sent_as,
            "log_id": user.log_id,
            "queued_at": at,
            **of_daemon,
        }
        for user in outcomes.pending_identifies
    ]
    if rows:
        connection.execute(_record(connection.dialect.name), rows)


@cache
def _record(dialect: str) -> Insert:
    row = upsert(schema.pending_identify, dialect)
    return row.on_conflict_do_update(
        index_elements=["stream_id", "user_id", "sent_as"],
        set_={"log_id": row.excluded.log_id, "is_catch_up": row.excluded.is_catch_up},
        where=row.excluded.log_id > schema.pending_identify.c.log_id,
    )


def read_pending(
    connection: Connection,
    stream_id: int,
    after: tuple[str, str],
    limit: int,
    *,
    owners: Collection[str],
    role: str,
    fence: int,
) -> tuple[QueuedIdentify, ...]:
    """Return up to `limit` users of these owners above `after`, by user id and id in Segment.

    What an owner of the same role with a higher fence number works on is left out.
    """
    columns = schema.pending_identify.c
    user_id, sent_as = after
    is_above = or_(
        columns.user_id > user_id, and_(columns.user_id == user_id, columns.sent_as > sent_as)
    )
    is_free = or_(columns.owner != role, columns.fence <= fence)
    own = (columns.stream_id == stream_id, columns.owner.in_(owners), is_free)
    query = select(schema.pending_identify).where(*own, is_above)
    rows = connection.execute(query.order_by(columns.user_id, columns.sent_as).limit(limit))
    return tuple(
        QueuedIdentify(
            who=PendingIdentify(user_id=row.user_id, sent_as=row.sent_as, log_id=row.log_id),
            queued_at=_pending_since(row),
        )
        for row in rows
    )


def _pending_since(row: Row[Any]) -> datetime:
    """Return the time after which an identify of the user makes this one needless.

    A catch-up needs none if the daemon told Segment of the user after the newest event of the
    backlog. This holds however often the daemon is started again meanwhile.
    """
    queued_at: datetime = row.queued_at
    happened_at = moment_of(row.log_id) if row.is_catch_up else None
    return happened_at or queued_at


def count_pending(connection: Connection, stream_id: int, *, owners: Collection[str]) -> int:
    """Return the number of pending identifies of these owners."""
    columns = schema.pending_identify.c
    query = select(func.count()).where(columns.stream_id == stream_id, columns.owner.in_(owners))
    return int(connection.scalar(query) or 0)


def take_over(
    connection: Connection,
    stream_id: int,
    owner: str,
    users: Iterable[PendingIdentify],
    *,
    fence: int,
) -> None:
    """Make `owner` the owner of these pending identifies, under its fence number."""
    new = {"new_owner": owner, "new_fence": fence}
    rows = [each | new for each in _keys(stream_id, users)]
    if rows:
        connection.execute(_take_over(), rows)


@cache
def _take_over() -> Update:
    columns = schema.pending_identify.c
    is_new = or_(columns.owner != bindparam("new_owner"), columns.fence != bindparam("new_fence"))
    return (
        update(schema.pending_identify)
        .where(*_is_bound(), is_new)
        .values(owner=bindparam("new_owner"), fence=bindparam("new_fence"))
    )


def read_fence(connection: Connection, stream_id: int, user: PendingIdentify) -> int | None:
    """Return the fence number of a pending identify, or None if its row is deleted."""
    row = select(schema.pending_identify.c.fence).where(*_is_bound())
    (key,) = _keys(stream_id, [user])
    fence: int | None = connection.scalar(row, key)
    return fence


def remove_sent(connection: Connection, stream_id: int, sent: Iterable[PendingIdentify]) -> None:
    """Delete these identifies. One stays if a newer event of its user came in the meantime."""
    rows = _keys(stream_id, sent)
    if rows:
        connection.execute(_remove_sent(), rows)


@cache
def _remove_sent() -> Delete:
    is_same_event = schema.pending_identify.c.log_id == bindparam("of_log_id")
    return delete(schema.pending_identify).where(*_is_bound(), is_same_event)


def _keys(stream_id: int, users: Iterable[PendingIdentify]) -> list[dict[str, Any]]:
    return [
        {
            "of_stream": stream_id,
            "of_user": user.user_id,
            "of_sent_as": user.sent_as,
            "of_log_id": user.log_id,
        }
        for user in users
    ]


def _is_bound() -> tuple[ColumnElement[bool], ...]:
    """Return the conditions for one row, with a parameter for each part of its key.

    One statement with a condition for each of 73 rows would cost 15 ms, most of it to compile.
    """
    columns = schema.pending_identify.c
    return (
        columns.stream_id == bindparam("of_stream"),
        columns.user_id == bindparam("of_user"),
        columns.sent_as == bindparam("of_sent_as"),
    )


def of_person(stream_id: int, user_id: str) -> ColumnElement[bool]:
    """Return the condition for the identifies of one person, under either of the two ids."""
    columns = schema.pending_identify.c
    is_person = or_(columns.user_id == user_id, columns.sent_as == user_id)
    return and_(columns.stream_id == stream_id, is_person)
