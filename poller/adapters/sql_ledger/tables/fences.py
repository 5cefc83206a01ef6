"""The fence: a number that says who works on a span, an unread stretch or a revisit.

Each owner draws a number when it opens the ledger, and each number is higher than all before. An
owner writes its number into a row when it begins to work on the row. A page is settled only if the
row still bears the number of the owner that read the page. So an owner that has stalled, and whose
work another one has begun meanwhile, is refused when it wakes up.
"""

from sqlalchemy import Connection, Table, select, update

from poller.adapters.sql_ledger.tables import schema
from poller.core.errors import ConflictError, TakenOverError
from poller.core.spans import Inherited, LogCursor, ReopenedGap, Resend, UnreadStretch

TAKEN_OVER = "this process ends, and settles nothing more. `status` names the one that runs"


def draw_fence(connection: Connection, stream_id: int) -> int:
    """Return the number of a new owner."""
    columns = schema.stream.c
    row = update(schema.stream).where(columns.id == stream_id)
    drawn = row.values(last_fence=columns.last_fence + 1).returning(columns.last_fence)
    return int(connection.execute(drawn).scalar_one())


def raise_fence(connection: Connection, cursor: LogCursor, fence: int) -> None:
    """Write the number of the owner who begins to work into the row of the cursor.

    Raises:
        TakenOverError: the row bears a higher number.
    """
    columns = _table_of(cursor).c
    row = update(_table_of(cursor)).where(columns.id == cursor.id, columns.fence <= fence)
    if connection.execute(row.values(fence=fence)).rowcount != 1:
        check_recorded(connection, cursor, fence)


def lower_fence(connection: Connection, cursor: LogCursor, fence: int) -> None:
    """Write the number of an earlier owner into the row of a cursor that this owner gives back.

    Raises:
        TakenOverError: a later owner has taken over the row.
    """
    columns = _table_of(cursor).c
    row = update(_table_of(cursor)).where(columns.id == cursor.id, columns.fence == cursor.fence)
    if connection.execute(row.values(fence=fence)).rowcount != 1:
        check_recorded(connection, cursor, cursor.fence)


def check_recorded(connection: Connection, cursor: LogCursor, fence: int) -> None:
    """Refuse the owner with this number if the row of the cursor bears another number.

    Raises:
        TakenOverError, ConflictError: as `check_fence`.
    """
    columns = _table_of(cursor).c
    recorded = connection.scalar(select(columns.fence).where(columns.id == cursor.id))
    if recorded is not None:
        check_fence(int(recorded), fence)


def check_fence(recorded: int, fence: int) -> None:
    """Refuse the owner with this number if a row bears another number.

    Raises:
        TakenOverError: a later owner has taken over the row.
        ConflictError: this owner has not begun to work on the row.
    """
    if recorded > fence:
        raise TakenOverError(
            f"another process works on this since fence {recorded}, and ours is {fence}",
            code="taken-over",
            hint=TAKEN_OVER,
        )
    if recorded < fence:
        raise ConflictError(f"the work was begun under fence {recorded} and not under {fence}")


def check_live_span(connection: Connection, stream_id: int, fence: int) -> None:
    """Refuse an owner if a later one works on the live span, so that the daemon is another one.

    Raises:
        TakenOverError: a later owner has taken over the live span.
    """
    columns = schema.span.c
    live = (columns.stream_id == stream_id, columns.until.is_(None))
    recorded = connection.scalar(select(columns.fence).where(*live))
    if recorded is not None and recorded > fence:
        check_fence(int(recorded), fence)


def _table_of(cursor: LogCursor) -> Table:
    match cursor:
        case UnreadStretch():
            return schema.unread_stretch
        case ReopenedGap() | Resend() | Inherited():
            return schema.revisit
    return schema.span
