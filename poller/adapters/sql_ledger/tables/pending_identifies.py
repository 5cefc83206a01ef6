"""Users whose tracks a backfill sent, and who are to be identified once it is through."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, delete, func, or_, select

from poller.adapters.sql_ledger.sqlite import driver
from poller.adapters.sql_ledger.tables import schema
from poller.core.outcomes import PendingIdentify, QueuedIdentify
from poller.core.translation.change_detection import LastSent, identify_key


def record_pending_identifies(
    connection: Connection, stream_id: int, awaiting: Iterable[PendingIdentify], queued_at: datetime
) -> None:
    """Adds who is not there yet; of who is, the newer event counts, and since when they wait stays."""
    rows = [
        {
            "stream_id": stream_id,
            "user_id": who.user_id,
            "sent_as": who.sent_as,
            "log_id": who.log_id,
            "queued_at": queued_at,
        }
        for who in awaiting
    ]
    if rows:
        row = driver.upsert(schema.pending_identify)
        newer = {"log_id": row.excluded.log_id}
        is_newer = row.excluded.log_id > schema.pending_identify.c.log_id
        keys = ["stream_id", "user_id", "sent_as"]
        connection.execute(
            row.on_conflict_do_update(index_elements=keys, set_=newer, where=is_newer), rows
        )


def record_last_sent(
    connection: Connection, stream_id: int, said: Mapping[str, str], at: datetime
) -> None:
    """What was said is what was said last."""
    facts = [
        {"stream_id": stream_id, "key": key, "fingerprint": fingerprint, "sent_at": at}
        for key, fingerprint in said.items()
    ]
    if facts:
        row = driver.upsert(schema.last_sent)
        newer = {"fingerprint": row.excluded.fingerprint, "sent_at": row.excluded.sent_at}
        is_later = row.excluded.sent_at >= schema.last_sent.c.sent_at
        keys = ["stream_id", "key"]
        connection.execute(
            row.on_conflict_do_update(index_elements=keys, set_=newer, where=is_later), facts
        )


def forget_identifies(
    connection: Connection, stream_id: int, awaiting: Iterable[PendingIdentify]
) -> None:
    """Forget what was said of these users, so that they are identified even where it would be the same again."""
    columns = schema.last_sent.c
    keys = [identify_key(who.sent_as) for who in awaiting]
    if keys:
        connection.execute(
            delete(schema.last_sent).where(columns.stream_id == stream_id, columns.key.in_(keys))
        )


def read_last_sent(
    connection: Connection, stream_id: int, keys: Sequence[str], *, since: datetime | None
) -> dict[str, LastSent]:
    """Return what was said, by key; with `since` only what was said from that moment on."""
    columns = schema.last_sent.c
    query = select(columns.key, columns.fingerprint, columns.sent_at)
    query = query.where(columns.stream_id == stream_id, columns.key.in_(keys))
    if since is not None:
        query = query.where(columns.sent_at >= since)
    return {
        row.key: LastSent(fingerprint=row.fingerprint, at=row.sent_at)
        for row in connection.execute(query)
    }


def read_pending_identifies(
    connection: Connection, stream_id: int, after: tuple[str, str], limit: int
) -> tuple[QueuedIdentify, ...]:
    """Up to `limit` above `after`, by Auth0's user id and the one they were sent under."""
    columns = schema.pending_identify.c
    user_id, sent_as = after
    is_above = or_(
        columns.user_id > user_id, and_(columns.user_id == user_id, columns.sent_as > sent_as)
    )
    query = select(schema.pending_identify).where(columns.stream_id == stream_id, is_above)
    return tuple(
        QueuedIdentify(
            who=PendingIdentify(user_id=row.user_id, sent_as=row.sent_as, log_id=row.log_id),
            queued_at=row.queued_at,
        )
        for row in connection.execute(query.order_by(columns.user_id, columns.sent_as).limit(limit))
    )


def count_pending_identifies(connection: Connection, stream_id: int) -> int:
    query = (
        select(func.count())
        .select_from(schema.pending_identify)
        .where(schema.pending_identify.c.stream_id == stream_id)
    )
    return int(connection.scalar(query) or 0)


def remove_pending_identifies(
    connection: Connection, stream_id: int, done: Iterable[PendingIdentify]
) -> None:
    """Removes these, but for those of whom a newer event has come."""
    columns = schema.pending_identify.c
    same = [
        and_(
            columns.user_id == who.user_id,
            columns.sent_as == who.sent_as,
            columns.log_id == who.log_id,
        )
        for who in done
    ]
    if same:
        connection.execute(
            delete(schema.pending_identify).where(columns.stream_id == stream_id, or_(*same))
        )
