"""Marks that say how far each file of log events is settled."""

from sqlalchemy import Connection, delete, insert, select

from poller.adapters.sql_ledger.tables import schema
from poller.core.errors import ConflictError
from poller.core.file_pages import FileMark, FilePage


def read_marks(connection: Connection, stream_id: int) -> tuple[FileMark, ...]:
    """Return the marks of every file that was ever read."""
    columns = schema.file_mark.c
    query = select(columns.content_hash, columns.offset, columns.line)
    return tuple(
        FileMark(fingerprint=row.content_hash, offset=row.offset, line=row.line)
        for row in connection.execute(query.where(columns.stream_id == stream_id))
    )


def move_mark(connection: Connection, stream_id: int, page: FilePage) -> None:
    """Put the mark at the end of the page in the place of the mark before the page.

    The first page of a reading replaces no mark: a copy of the file may end at an older mark.

    Raises:
        ConflictError: the mark before the page is not there.
        IntegrityError: the mark at the end is there already, and the file is not read again on
            purpose.
    """
    columns = schema.file_mark.c
    own = columns.stream_id == stream_id
    if page.moves is not None:
        replaced = delete(schema.file_mark).where(
            own,
            columns.content_hash == page.moves.fingerprint,
            columns.offset == page.moves.offset,
        )
        if connection.execute(replaced).rowcount != 1:
            raise ConflictError(
                f"no file is marked at byte {page.moves.offset}: someone else moved it"
            )
    if page.is_again:
        same = delete(schema.file_mark).where(own, columns.content_hash == page.end.fingerprint)
        connection.execute(same)
    row = insert(schema.file_mark).values(
        stream_id=stream_id,
        content_hash=page.end.fingerprint,
        offset=page.end.offset,
        line=page.end.line,
        settled_at=page.served_at,
    )
    connection.execute(row)
