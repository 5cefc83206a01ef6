"""How far files are settled: marks, moved within the transaction that records what came of a page."""

from sqlalchemy import Connection, delete, insert, select

from poller.adapters.sql_ledger.tables import schema
from poller.core.errors import ConflictError
from poller.core.file_pages import FileMark, FilePage


def marks(connection: Connection, stream_id: int) -> tuple[FileMark, ...]:
    columns = schema.file_mark.c
    query = select(columns.content_hash, columns.offset, columns.line).where(
        columns.stream_id == stream_id
    )
    return tuple(
        FileMark(fingerprint=row.content_hash, offset=row.offset, line=row.line)
        for row in connection.execute(query)
    )


def move(connection: Connection, stream_id: int, page: FilePage) -> None:
    """Puts the page's mark in the place of the one that it moves; the first of a reading is one more.

    Raises:
        ConflictError: the mark to move is not there.
        IntegrityError: the new one is there already, and the file is not read again on purpose.
    """
    if page.moves is not None:
        columns = schema.file_mark.c
        moved = delete(schema.file_mark).where(
            columns.stream_id == stream_id,
            columns.content_hash == page.moves.fingerprint,
            columns.offset == page.moves.offset,
        )
        if connection.execute(moved).rowcount != 1:
            raise ConflictError(
                f"no file is marked at byte {page.moves.offset}: someone else moved it"
            )
    if page.is_again:
        same = (
            schema.file_mark.c.stream_id == stream_id,
            schema.file_mark.c.content_hash == page.end.fingerprint,
        )
        connection.execute(delete(schema.file_mark).where(*same))
    made = insert(schema.file_mark).values(
        stream_id=stream_id,
        content_hash=page.end.fingerprint,
        offset=page.end.offset,
        line=page.end.line,
        settled_at=page.served_at,
    )
    connection.execute(made)
