"""The gaps of a stream: parts of the log that retention removed before they were read.

The adapter of Auth0's log (`poller/adapters/auth0/log.py`) recognises a gap. Here it is only
recorded, and taken back if its part of the log is read after all.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, delete, select, update

from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.upsert import upsert
from poller.core.log_ids import LogId, successor
from poller.core.pages import Page
from poller.core.spans import Gap


def read_gaps(connection: Connection, stream_id: int) -> tuple[Gap, ...]:
    """Return the gaps of the stream, by `after`. They may overlap."""
    columns = schema.gap.c
    query = select(columns.after, columns.before, columns.is_read_once)
    rows = connection.execute(query.where(columns.stream_id == stream_id).order_by(columns.after))
    return tuple(Gap(**row) for row in rows.mappings())


def record_gap(connection: Connection, stream_id: int, page: Page) -> None:
    """Record the gap below the page, if there is one.

    A gap that is seen from the same position again may have grown, since retention goes on.
    """
    if page.lost is None:
        return
    row = upsert(schema.gap, connection.dialect.name).values(
        stream_id=stream_id,
        after=page.lost.after,
        before=page.lost.before,
        is_read_once=page.lost.is_read_once,
        noticed_at=page.served_at,
    )
    before, seen = schema.gap.c.before, row.excluded.before
    larger = case((before > seen, before), else_=seen)
    keys = ["stream_id", "after", "is_read_once"]
    connection.execute(row.on_conflict_do_update(index_elements=keys, set_={"before": larger}))


def in_gaps(connection: Connection, stream_id: int, log_ids: Iterable[LogId]) -> frozenset[LogId]:
    """Return the ids among `log_ids` that lie in a gap whose events were never settled."""
    gaps = [gap for gap in read_gaps(connection, stream_id) if not gap.is_read_once]
    return frozenset(
        log_id for log_id in log_ids if any(gap.after < log_id < gap.before for gap in gaps)
    )


def shrink_gaps(connection: Connection, stream_id: int, after: LogId, until: LogId) -> None:
    """Take `(after, until]`, which was read after all, out of the recorded gaps.

    A gap leaves out both of its ends, so the rest below ends just above `after`, and the rest
    above begins at `until`. A rest that cannot hold an id is not recorded.
    """
    part = {"stream": stream_id, "begin": successor(after), "end": until}
    gaps = connection.execute(_overlapping(), part).all()
    if not gaps:
        return
    connection.execute(delete(schema.gap).where(schema.gap.c.id.in_([gap.id for gap in gaps])))
    for gap in gaps:
        for begin, end in ((gap.after, successor(after)), (until, gap.before)):
            if successor(begin) < end:
                rest = upsert(schema.gap, connection.dialect.name).values(
                    stream_id=stream_id,
                    after=begin,
                    before=end,
                    noticed_at=gap.noticed_at,
                    is_read_once=False,
                )
                connection.execute(rest.on_conflict_do_nothing())


@cache
def _overlapping() -> Select[Any]:
    columns = schema.gap.c
    return select(schema.gap).where(
        columns.stream_id == bindparam("stream"),
        ~columns.is_read_once,
        columns.after < bindparam("end"),
        columns.before > bindparam("begin"),
    )


def cut_off_gaps(connection: Connection, stream_id: int, at: LogId) -> None:
    """Delete what lies above `at`, since the daemon reads the log from there anew."""
    columns = schema.gap.c
    own, end = columns.stream_id == stream_id, successor(at)
    connection.execute(delete(schema.gap).where(own, columns.after >= at))
    connection.execute(update(schema.gap).where(own, columns.before > end).values(before=end))
