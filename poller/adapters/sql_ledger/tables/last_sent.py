"""Fingerprints of what Segment was told last about each user and membership.

A row holds a hash of whom the message was about, and a fingerprint of what it said. So the ledger
can leave out a message that would say the same again, and holds no personal data for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, delete, or_, select, update
from sqlalchemy.dialects.sqlite import Insert

from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.upsert import upsert
from poller.core.translation.change_detection import LastSent


def record_last_sent(
    connection: Connection, stream_id: int, fingerprints: Mapping[str, str], at: datetime
) -> None:
    """Record what was sent at this time, by key. What was sent later stays."""
    rows = [
        {"stream_id": stream_id, "key": key, "fingerprint": fingerprint, "sent_at": at}
        for key, fingerprint in fingerprints.items()
    ]
    if rows:
        connection.execute(_record(connection.dialect.name), rows)


@cache
def _record(dialect: str) -> Insert:
    row = upsert(schema.last_sent, dialect)
    newer = {"fingerprint": row.excluded.fingerprint, "sent_at": row.excluded.sent_at}
    is_later = row.excluded.sent_at >= schema.last_sent.c.sent_at
    return row.on_conflict_do_update(
        index_elements=["stream_id", "key"], set_=newer, where=is_later
    )


def note_read_late(connection: Connection, stream_id: int, moment: datetime) -> None:
    """Count what was sent after this moment as sent at this moment.

    The events of these messages happened up to then and were read late. So the messages say
    nothing of what happened since.
    """
    columns = schema.last_sent.c
    row = update(schema.last_sent).where(columns.stream_id == stream_id, columns.sent_at > moment)
    connection.execute(row.values(sent_at=moment))


def read_last_sent(
    connection: Connection, stream_id: int, keys: Sequence[str], *, since: datetime | None
) -> dict[str, LastSent]:
    """Return what was sent last, by key. With `since`, leave out what was sent before that time."""
    columns = schema.last_sent.c
    query = select(columns.key, columns.fingerprint, columns.sent_at)
    query = query.where(columns.stream_id == stream_id, columns.key.in_(keys))
    if since is not None:
        query = query.where(columns.sent_at >= since)
    return {
        row.key: LastSent(fingerprint=row.fingerprint, at=row.sent_at)
        for row in connection.execute(query)
    }


def forget_keys(connection: Connection, stream_id: int, keys: Iterable[str]) -> None:
    """Delete what was sent under these keys, so that the next message about them is sent."""
    columns = schema.last_sent.c
    connection.execute(
        delete(schema.last_sent).where(columns.stream_id == stream_id, columns.key.in_(keys))
    )


def forget_before(connection: Connection, stream_id: int, moment: datetime, *, keep: int) -> int:
    """Delete what was sent before this moment, and all but the newest `keep` rows.

    Return the number of deleted rows.
    """
    columns = schema.last_sent.c
    own = columns.stream_id == stream_id
    newest_to_delete = connection.scalar(
        select(columns.sent_at).where(own).order_by(columns.sent_at.desc()).limit(1).offset(keep)
    )
    conditions = [columns.sent_at < moment]
    if newest_to_delete is not None:
        conditions.append(columns.sent_at <= newest_to_delete)
    return connection.execute(delete(schema.last_sent).where(own, or_(*conditions))).rowcount
