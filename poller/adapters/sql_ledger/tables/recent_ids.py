"""Recent ids: events of interest that were settled and that the second reading reads again.

Each time a page of a span is settled, the ids above the span's `confirmed` are recorded. The second
reading asks which ids are not recorded, and takes only those events for late arrivals.
"""

from collections.abc import Collection, Iterable
from functools import cache

from sqlalchemy import Connection, and_, delete, exists, or_, select
from sqlalchemy.dialects.sqlite import Insert

from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.upsert import upsert
from poller.core.log_ids import LogId


def record_ids(connection: Connection, stream_id: int, log_ids: Iterable[LogId]) -> None:
    """Record that these events are settled. An id that is recorded already stays."""
    rows = [{"stream_id": stream_id, "log_id": log_id} for log_id in log_ids]
    if rows:
        connection.execute(_insert(connection.dialect.name), rows)


@cache
def _insert(dialect: str) -> Insert:
    return upsert(schema.recent_id, dialect).on_conflict_do_nothing()


def read_known(
    connection: Connection, stream_id: int, log_ids: Collection[LogId]
) -> frozenset[LogId]:
    """Return the ids among `log_ids` that are recorded."""
    columns = schema.recent_id.c
    query = select(columns.log_id).where(
        columns.stream_id == stream_id, columns.log_id.in_(log_ids)
    )
    return frozenset(connection.scalars(query))


def read_all(connection: Connection, stream_id: int) -> frozenset[LogId]:
    """Return all recent ids of a stream."""
    columns = schema.recent_id.c
    return frozenset(
        connection.scalars(select(columns.log_id).where(columns.stream_id == stream_id))
    )


def forget_passed_ids(connection: Connection, stream_id: int) -> int:
    """Delete the ids that no second reading will read again. Return their number.

    An id is still needed in three places: above the `confirmed` of the live span, in the
    `(confirmed, reached]` of a span that is not finished, and in an unread stretch. A finished
    span needs none, since its unconfirmed part became an unread stretch.
    """
    ids, spans, stretches = schema.recent_id.c, schema.span.c, schema.unread_stretch.c
    is_unfinished = and_(spans.reached < spans.until, ids.log_id <= spans.reached)
    is_unconfirmed = exists().where(
        spans.stream_id == stream_id,
        spans.confirmed < ids.log_id,
        or_(spans.until.is_(None), is_unfinished),
    )
    is_unread = exists().where(
        stretches.stream_id == stream_id,
        stretches.reached < ids.log_id,
        ids.log_id <= stretches.until,
    )
    passed = delete(schema.recent_id).where(ids.stream_id == stream_id, ~is_unconfirmed, ~is_unread)
    return connection.execute(passed).rowcount


def cut_off_ids(connection: Connection, stream_id: int, at: LogId) -> None:
    """Delete the ids above `at`, since the daemon reads the log from there anew."""
    columns = schema.recent_id.c
    above = (columns.stream_id == stream_id, columns.log_id > at)
    connection.execute(delete(schema.recent_id).where(*above))
