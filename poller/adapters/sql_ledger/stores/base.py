"""The base of every store: the database, and the id of the stream in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.tables.fences import check_live_span
from poller.core.events import Stream


class StreamStore:
    """The rows of one stream, and the fence number of the owner that opened it. Thread-safe.

    Other processes may have the same file open.
    """

    def __init__(self, database: Database, stream: Stream, stream_id: int, fence: int) -> None:
        self._database = database
        self._stream = stream
        self._stream_id = stream_id
        self._fence = fence

    @contextmanager
    def _writing_as_daemon(self) -> Iterator[Connection]:
        """Open a transaction that may write what belongs to the daemon of the stream.

        Raises:
            TakenOverError: a later owner works on the live span, so it is the daemon now.
        """
        with self._database.writing() as connection:
            check_live_span(connection, self._stream_id, self._fence)
            yield connection
