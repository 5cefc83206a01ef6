"""The base of every store: the database, and the id of the stream in it."""

from poller.adapters.sql_ledger.database import Database
from poller.core.events import Stream


class StreamStore:
    """The rows of one stream. Thread-safe. Other processes may have the same file open."""

    def __init__(self, database: Database, stream: Stream, stream_id: int) -> None:
        self._database = database
        self._stream = stream
        self._stream_id = stream_id
