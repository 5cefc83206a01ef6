"""What `status` shows: reads the ledger of every stream, also while the daemon writes it."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from poller.adapters.sql_ledger.database import Database, check_version, path_of, version_of
from poller.adapters.sql_ledger.ledger import read_spans
from poller.adapters.sql_ledger.opening import missing
from poller.adapters.sql_ledger.schema import dead_letters, gaps, streams, tallies
from poller.core.events import Gap, LogId, Span, Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """All that the ledger says of one stream, at one moment."""

    stream: Stream
    spans: tuple[Span, ...]
    gaps: tuple[Gap, ...]
    events: dict[str, int]
    dead_letters: dict[str, int]
    cycle_at: datetime | None
    cycle_error: str | None
    blocked_reason: str | None
    blocked_hint: str | None


def read_streams(url: str) -> tuple[StreamState, ...]:
    """The state of each stream in the ledger; writes nothing.

    Raises:
        FatalError: there is no ledger, or it cannot be read.
        TransientError: it cannot be read now.
    """
    path = path_of(url)
    if not path.exists():
        raise missing(path)
    database = Database(path, read_only=True)
    try:
        with database.transaction() as connection:
            version = version_of(connection)
            check_version(path, version)
            if version == 0:
                return ()
            rows = connection.execute(sa.select(streams).order_by(streams.c.id)).all()
            return tuple(_state(connection, row) for row in rows)
    finally:
        database.close()


def _state(connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> StreamState:
    stream = Stream(domain=row.domain, source_name=row.source_name, generation=row.generation)
    lost = connection.execute(sa.select(gaps).where(gaps.c.stream_id == row.id).order_by(gaps.c.after))
    return StreamState(
        stream=stream,
        spans=read_spans(connection, stream, row.id),
        gaps=tuple(Gap(after=LogId(gap.after), before=LogId(gap.before)) for gap in lost),
        events=_sums(connection, tallies.c.outcome, sa.func.sum(tallies.c.events), tallies.c.stream_id == row.id),
        dead_letters=_sums(connection, dead_letters.c.reason, sa.func.count(), dead_letters.c.stream_id == row.id),
        cycle_at=datetime.fromisoformat(row.cycle_at) if row.cycle_at else None,
        cycle_error=row.cycle_error,
        blocked_reason=row.blocked_reason,
        blocked_hint=row.blocked_hint,
    )


def _sums(
    connection: sa.Connection, key: sa.ColumnElement[str], total: sa.ColumnElement[int], where: sa.ColumnElement[bool]
) -> dict[str, int]:
    return {name: int(count) for name, count in connection.execute(sa.select(key, total).where(where).group_by(key))}
