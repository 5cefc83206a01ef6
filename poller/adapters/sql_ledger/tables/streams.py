"""The streams of a ledger, and which stream a start may begin or continue.

A stream is an Auth0 domain, a Segment source and a generation. Each other row belongs to one
stream, by its `stream_id`.
"""

from sqlalchemy import Connection, insert, select, update

from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.spans import read_spans
from poller.core.errors import FatalError
from poller.core.events import Stream

NO_STREAM_ID = 0
"""An id that no stream has, since SQLite numbers rows from 1. A query by it finds nothing."""


def read_streams(connection: Connection) -> dict[Stream, int]:
    """Return the id of each stream, in the order in which the streams were begun."""
    query = select(schema.stream).order_by(schema.stream.c.id)
    return {
        Stream(domain=row.domain, source_name=row.source_name, generation=row.generation): row.id
        for row in connection.execute(query)
    }


def enroll(connection: Connection, stream: Stream, *, create: bool, adopt: bool) -> int:
    """Return the id of the stream, and add the stream to the ledger if it is new.

    A first start with a mistyped write key leaves a stream that settled nothing. The next start
    with the right key takes that stream over: its names change, and its beginning stays.

    Raises:
        FatalError: the stream is new, and either `create` is false, or the ledger holds other
            streams and `adopt` is false.
    """
    streams = read_streams(connection)
    if stream in streams:
        return streams[stream]
    for unused, stream_id in streams.items():
        if can_be_renamed(connection, unused, stream_id, stream):
            names = {"source_name": stream.source_name, "generation": stream.generation}
            row = update(schema.stream).where(schema.stream.c.id == stream_id)
            connection.execute(row.values(names))
            return stream_id
    if streams and not adopt:
        raise stream_mismatch_error(stream, tuple(streams))
    if not create:
        raise FatalError(
            f"it holds nothing of {label(stream)}", code="stream-unknown", hint="`run` begins it"
        )
    new = insert(schema.stream).values(
        domain=stream.domain, source_name=stream.source_name, generation=stream.generation
    )
    return int(connection.execute(new.returning(schema.stream.c.id)).scalar_one())


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


def stream_mismatch_error(stream: Stream, others: tuple[Stream, ...]) -> FatalError:
    """Return the error for a ledger that holds other streams and not this one."""
    return FatalError(
        f"it holds only other streams: {'; '.join(map(label, others))}; not {label(stream)}",
        code="stream-mismatch",
        hint="if only segment.write_key was changed, go on with [segment] "
        f'source_name = "{others[0].source_name}"; else set auth0.domain or segment.source_name '
        "back, or point state.url at a new file; or begin this stream in the same file with "
        "`run --new-stream`",
    )


def label(stream: Stream) -> str:
    """Return the stream as messages name it."""
    generation = f", generation {stream.generation}" if stream.generation else ""
    return f"{stream.domain} to {stream.source_name}{generation}"
