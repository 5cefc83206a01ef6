"""Users whose tracks a backfill sent, and who are to be identified once it is through."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, and_, delete, func, or_, select

from poller.adapters.sql_ledger.sqlite import driver
from poller.adapters.sql_ledger.tables import schema
from poller.core.outcomes import PendingIdentify, QueuedIdentify
from poller.core.translation.change_detection import Said, identify_key


def record_awaiting(
    connection: Connection, stream_id: int, awaiting: Iterable[PendingIdentify], seen_at: datetime
) -> None:
    """Adds who is not there yet; of who is, the newer event counts, and since when they wait stays."""
    rows = [
        {
            "stream_id": stream_id,
            "user_id": who.user_id,
            "sent_as": who.sent_as,
            "log_id": who.log_id,
            "seen_at": seen_at,
        }
        for who in awaiting
    ]
    if rows:
        row = driver.upsert(schema.awaiting)
        newer = {"log_id": row.excluded.log_id}
        is_newer = row.excluded.log_id > schema.awaiting.c.log_id
        keys = ["stream_id", "user_id", "sent_as"]
        connection.execute(
            row.on_conflict_do_update(index_elements=keys, set_=newer, where=is_newer), rows
        )


def record_said(
    connection: Connection, stream_id: int, said: Mapping[str, str], at: datetime
) -> None:
    """What was said is what was said last."""
    facts = [
        {"stream_id": stream_id, "key": key, "fingerprint": fingerprint, "said_at": at}
        for key, fingerprint in said.items()
    ]
    if facts:
        row = driver.upsert(schema.said)
        newer = {"fingerprint": row.excluded.fingerprint, "said_at": row.excluded.said_at}
        is_later = row.excluded.said_at >= schema.said.c.said_at
        keys = ["stream_id", "key"]
        connection.execute(
            row.on_conflict_do_update(index_elements=keys, set_=newer, where=is_later), facts
        )


def forget_identifies(
    connection: Connection, stream_id: int, awaiting: Iterable[PendingIdentify]
) -> None:
    """Forget what was said of these users, so that they are identified even where it would be the same again."""
    columns = schema.said.c
    keys = [identify_key(who.sent_as) for who in awaiting]
    if keys:
        connection.execute(
            delete(schema.said).where(columns.stream_id == stream_id, columns.key.in_(keys))
        )


def read_said(
    connection: Connection, stream_id: int, keys: Sequence[str], *, since: datetime | None
) -> dict[str, Said]:
    """Return what was said, by key; with `since` only what was said from that moment on."""
    columns = schema.said.c
    query = select(columns.key, columns.fingerprint, columns.said_at)
    query = query.where(columns.stream_id == stream_id, columns.key.in_(keys))
    if since is not None:
        query = query.where(columns.said_at >= since)
    return {
        row.key: Said(fingerprint=row.fingerprint, at=row.said_at)
        for row in connection.execute(query)
    }


def read_awaiting(
    connection: Connection, stream_id: int, after: tuple[str, str], limit: int
) -> tuple[QueuedIdentify, ...]:
    """Up to `limit` above `after`, by Auth0's user id and the one they were sent under."""
    columns = schema.awaiting.c
    user_id, sent_as = after
    is_above = or_(
        columns.user_id > user_id, and_(columns.user_id == user_id, columns.sent_as > sent_as)
    )
    query = select(schema.awaiting).where(columns.stream_id == stream_id, is_above)
    return tuple(
        QueuedIdentify(
            who=PendingIdentify(user_id=row.user_id, sent_as=row.sent_as, log_id=row.log_id),
            seen_at=row.seen_at,
        )
        for row in connection.execute(query.order_by(columns.user_id, columns.sent_as).limit(limit))
    )


def count_awaiting(connection: Connection, stream_id: int) -> int:
    query = (
        select(func.count())
        .select_from(schema.awaiting)
        .where(schema.awaiting.c.stream_id == stream_id)
    )
    return int(connection.scalar(query) or 0)


def remove_awaiting(
    connection: Connection, stream_id: int, done: Iterable[PendingIdentify]
) -> None:
    """Removes these, but for those of whom a newer event has come."""
    columns = schema.awaiting.c
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
            delete(schema.awaiting).where(columns.stream_id == stream_id, or_(*same))
        )
