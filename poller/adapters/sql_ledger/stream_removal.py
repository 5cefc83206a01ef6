"""Removing a stream that was begun by mistake."""

from contextlib import closing

from sqlalchemy import delete

from poller.adapters.sql_ledger.places import open_database
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.routing import read_anew
from poller.adapters.sql_ledger.tables.spans import read_spans
from poller.adapters.sql_ledger.tables.streams import label, read_streams
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import EARLIEST


def remove_stream(url: str, stream: Stream, *, with_spans: bool) -> None:
    """Delete everything that the ledger holds of the stream.

    The caller holds the locks of `run` and `backfill`, so no process works on the stream.

    Raises:
        FatalError: there is no such stream, or it has spans and `with_spans` is false.
        TransientError: the ledger is locked.
    """
    with closing(open_database(url, change=True)) as database, database.writing() as connection:
        stream_id = read_streams(connection).get(stream)
        if stream_id is None:
            raise FatalError(
                f"nothing of {label(stream)} is in the ledger",
                code="stream-unknown",
                hint="see `ledger show`",
            )
        if not with_spans and read_spans(connection, stream, stream_id):
            raise FatalError(
                f"{label(stream)} has spans: the ledger would forget what was settled",
                code="stream-has-spans",
                hint="add --with-spans if everything may be sent again",
            )
        read_anew(connection, stream, EARLIEST)
        for table in reversed(schema.metadata.sorted_tables):
            if "stream_id" in table.c:
                connection.execute(delete(table).where(table.c.stream_id == stream_id))
        connection.execute(delete(schema.stream).where(schema.stream.c.id == stream_id))
