"""The streams of a ledger, and which stream a start may begin or continue.

A stream is an Auth0 domain, a Segment source and a generation. Each other row belongs to one
stream, by its `stream_id`.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, Select, bindparam, delete, insert, or_, select, update

from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.routing import read_former, rename_route
from poller.adapters.sql_ledger.tables.spans import read_spans
from poller.core.errors import FatalError
from poller.core.events import NamesInIds, Stream
from poller.core.log_ids import LogId
from poller.core.spans import LogRange

NO_STREAM_ID = 0
"""An id that no stream has, since SQLite numbers rows from 1. A query by it finds nothing."""


def read_streams(connection: Connection) -> dict[Stream, int]:
    """Return the id of each stream, in the order in which the streams were begun."""
    columns = schema.names_in_ids.c
    names: dict[int, list[NamesInIds]] = {}
    for row in connection.execute(select(schema.names_in_ids).order_by(columns.after)):
        each = NamesInIds(after=row.after, source_name=row.source_name, generation=row.generation)
        names.setdefault(row.stream_id, []).append(each)
    query = select(schema.stream).order_by(schema.stream.c.id)
    return {
        Stream(
            domain=row.domain,
            source_name=row.source_name,
            generation=row.generation,
            in_ids=tuple(names.get(row.id, ())),
        ): row.id
        for row in connection.execute(query)
    }


def recorded(streams: Iterable[Stream], stream: Stream) -> Stream | None:
    """Return the stream of these names as the ledger records it, or None."""
    return next((each for each in streams if each == stream), None)


def enroll(
    connection: Connection,
    stream: Stream,
    neighbours: Collection[Stream] = (),
    *,
    create: bool,
    adopt: bool,
    now: datetime,
) -> tuple[Stream, int]:
    """Return the stream as it is recorded, and its id. Add it to the ledger if it is new.

    From `now` on, the ledger counts the messages of a new stream that Segment acknowledges.

    A first start with a mistyped write key leaves a stream that settled nothing. The next start
    with the right key takes that stream over: its names change, and its beginning stays. The
    `neighbours` are streams of other pipelines. They are not taken over, and not in the way. Those
    of routes that were removed are not either.

    Raises:
        FatalError: the stream is new, and either `create` is false, or the ledger holds other
            streams and `adopt` is false.
    """
    others = {*neighbours, *read_former(connection, stream.domain)} - {stream}
    known_streams = read_streams(connection)
    streams = {each: id_ for each, id_ in known_streams.items() if each not in others}
    known = recorded(streams, stream)
    if known is not None:
        return known, streams[known]
    for unused, stream_id in streams.items():
        if can_be_renamed(connection, unused, stream_id, stream):
            rename(connection, stream_id, stream)
            return stream, stream_id
    if streams and not adopt:
        raise stream_mismatch_error(stream, tuple(streams))
    if not create:
        raise FatalError(
            f"it holds nothing of {label(stream)}", code="stream-unknown", hint="`run` begins it"
        )
    return stream, _begin(connection, stream, now)


def _begin(connection: Connection, stream: Stream, now: datetime) -> int:
    new = insert(schema.stream).values(
        domain=stream.domain,
        source_name=stream.source_name,
        generation=stream.generation,
        acknowledged_since=now,
    )
    return int(connection.execute(new.returning(schema.stream.c.id)).scalar_one())


def rename(connection: Connection, stream_id: int, stream: Stream) -> None:
    """Give the row the names of this stream, and its names in message ids."""
    old = next(each for each, id_ in read_streams(connection).items() if id_ == stream_id)
    rename_route(connection, old, stream)
    names = {"source_name": stream.source_name, "generation": stream.generation}
    connection.execute(update(schema.stream).where(schema.stream.c.id == stream_id).values(names))
    own = schema.names_in_ids.c.stream_id == stream_id
    connection.execute(delete(schema.names_in_ids).where(own))
    for each in stream.in_ids:
        values = {
            "after": each.after,
            "source_name": each.source_name,
            "generation": each.generation,
        }
        connection.execute(insert(schema.names_in_ids).values(stream_id=stream_id, **values))


def can_be_renamed(connection: Connection, unused: Stream, stream_id: int, stream: Stream) -> bool:
    """Return whether `unused` has settled nothing and belongs to the same tenant as `stream`."""
    if unused.domain != stream.domain:
        return False
    columns = schema.file_mark.c
    mark = select(columns.offset).where(columns.stream_id == stream_id).limit(1)
    return connection.scalar(mark) is None and all(
        span.reached == span.after and span.drained_at is None
        for span in read_spans(connection, unused, stream_id)
    )


def note_beginning(connection: Connection, stream_id: int, position: LogId) -> None:
    """Record that the daemon begins at this position or is to begin there.

    The lowest one stays. What lies between it and the lowest span was left out by hand.
    """
    columns = schema.stream.c
    is_lowest = or_(columns.begun_after.is_(None), columns.begun_after > position)
    row = update(schema.stream).where(columns.id == stream_id, is_lowest)
    connection.execute(row.values(begun_after=position))


def read_beginning(connection: Connection, stream_id: int) -> LogId | None:
    """Return the lowest place at which the daemon was to begin, or None if it never began."""
    query = select(schema.stream.c.begun_after).where(schema.stream.c.id == stream_id)
    position: str | None = connection.scalar(query)
    return LogId(position) if position else None


def note_resent(connection: Connection, stream_id: int, resent: LogRange) -> None:
    """Note that a part of the log is sent again at will. Its messages are counted apart.

    One range holds this part and every part that was noted before, and what lies between them.
    """
    before = read_resent(connection, stream_id) or resent
    row = update(schema.stream).where(schema.stream.c.id == stream_id)
    connection.execute(
        row.values(
            resent_after=min(before.after, resent.after),
            resent_until=max(before.until, resent.until),
        )
    )


def read_resent(connection: Connection, stream_id: int) -> LogRange | None:
    """Return the part of the log that is sent again at will, or None."""
    row = connection.execute(_resent(), {"stream": stream_id}).one_or_none()
    if row is None or row.resent_after is None:
        return None
    return LogRange(after=LogId(row.resent_after), until=LogId(row.resent_until))


@cache
def _resent() -> Select[tuple[str | None, str | None]]:
    columns = schema.stream.c
    query = select(columns.resent_after, columns.resent_until)
    return query.where(columns.id == bindparam("stream"))


def stream_mismatch_error(stream: Stream, others: tuple[Stream, ...]) -> FatalError:
    """Return the error for a ledger that holds other streams and not this one."""
    asked = _KEY_QUESTION if any(each.domain == stream.domain for each in others) else ""
    return FatalError(
        f"it holds only other streams: {'; '.join(map(label, others))}; not {label(stream)}",
        code="stream-mismatch",
        hint=f"{asked}if another setting was changed, set auth0.domain, segment.source_name or "
        "segment.generation back. If this is a new stream, point state.url at a new file, or begin "
        "it in this file with `run --new-stream`",
    )


_KEY_QUESTION = (
    "was segment.write_key changed? If the source is the same and its key was rotated: `ledger key "
    "rotated`. If the key before was wrong, so that nothing arrived: `ledger key was-wrong`. "
    "Otherwise: "
)


def label(stream: Stream) -> str:
    """Return the stream as messages name it."""
    generation = f", generation {stream.generation}" if stream.generation else ""
    return f"{stream.domain} to {stream.source_name}{generation}"
