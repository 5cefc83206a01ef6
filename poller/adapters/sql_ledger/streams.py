"""A stream that was begun by mistake, removed."""

from sqlalchemy import delete, func, select

from poller.adapters.sql_ledger.sqlite import driver
from poller.adapters.sql_ledger.sqlite.database import Database
from poller.adapters.sql_ledger.tables import rows, schema
from poller.core.errors import FatalError
from poller.core.events import Stream


def remove_stream(url: str, stream: Stream, *, with_spans: bool) -> None:
    """Remove all that the ledger holds of the stream. To be called with the locks of `run` and `backfill` held.

    Raises:
        FatalError: there is no such stream, or it has spans and `with_spans` is not given.
        TransientError: the ledger is locked.
    """
    database = Database.open(driver.ledger_path(url), create=False)
    try:
        with database.writing() as connection:
            key = rows.streams(connection).get(stream)
            if key is None:
                raise FatalError(
                    f"nothing of {rows.named(stream)} is in the ledger",
                    code="stream-unknown",
                    hint="see `ledger show`",
                )
            mine = (
                select(func.count()).select_from(schema.span).where(schema.span.c.stream_id == key)
            )
            if not with_spans and connection.scalar(mine):
                raise FatalError(
                    f"{rows.named(stream)} has spans: the ledger would forget what was settled",
                    code="stream-has-spans",
                    hint="add --with-spans if everything may be sent again",
                )
            for table in reversed(schema.metadata.sorted_tables):
                if "stream_id" in table.c:
                    connection.execute(delete(table).where(table.c.stream_id == key))
            connection.execute(delete(schema.stream).where(schema.stream.c.id == key))
    finally:
        database.close()
