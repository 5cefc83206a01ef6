"""Settling a page of the log: the cursor moves, and the results of the page are recorded.

All of it happens in one transaction, so that a crash leaves the page either settled or not begun.
The kind of the cursor says what moves:

- For a *span*, `reached` moves. `confirmed` follows as far as the log was read late enough.
- For a *second reading*, only `confirmed` of the live span moves.
- An *unread stretch* and a revisit (a *reopened gap*, a *resend*, a *redelivery* or an *inherited*
  part) have rows of their own. The row is deleted when the cursor reaches its end.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection, select, update

from poller.adapters.sql_ledger.outcomes import record_outcomes, record_resent_outcomes
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.fences import check_fence
from poller.adapters.sql_ledger.tables.gaps import record_gap, shrink_gaps
from poller.adapters.sql_ledger.tables.recent_ids import record_ids
from poller.adapters.sql_ledger.tables.spans import (
    find_unmoved,
    join_spans,
    read_spans,
    write_position,
)
from poller.adapters.sql_ledger.tables.stretches import leave_unread, move_stretch
from poller.core.errors import ConflictError
from poller.core.log_ids import predecessor
from poller.core.pages import Page, advance
from poller.core.settlement import Settlement
from poller.core.spans import (
    Inherited,
    LogCursor,
    Redelivery,
    ReopenedGap,
    Resend,
    SecondReading,
    Span,
    UnreadStretch,
)


def settle_page(
    connection: Connection, stream_id: int, settlement: Settlement, *, late_window: timedelta
) -> LogCursor:
    """Settle the page, and return the moved cursor.

    Raises:
        TakenOverError: another owner has begun to work on the cursor.
        ConflictError: the cursor has moved since the page was read, or the page lies outside of
            what the cursor may settle.
    """
    cursor, page = settlement.cursor, settlement.page
    _refuse_misplaced(cursor, page)
    match cursor:
        case Span():
            moved = _move_span(connection, stream_id, cursor, page, late_window)
            ids = [log_id for log_id in settlement.ids_to_remember if log_id > moved.confirmed]
            record_ids(connection, stream_id, ids)
            _record(connection, stream_id, settlement)
            return moved
        case SecondReading():
            _refuse_unbelieved(cursor, page)
            _move_confirmed(connection, stream_id, cursor, page)
            _record(connection, stream_id, settlement)
            return replace(cursor, reached=page.position)
        case Resend():
            _record_resent(connection, stream_id, settlement)
            return move_stretch(connection, cursor, page.position)
        case UnreadStretch():
            _refuse_unbelieved(cursor, page)
        case ReopenedGap():
            shrink_gaps(connection, stream_id, cursor.reached, page.position)
            # A second reading may still pass here, and must not take these events for late ones.
            record_ids(connection, stream_id, settlement.ids_to_remember)
        case Inherited():
            # What it declines may be a late arrival, which the second reading is to find.
            record_ids(connection, stream_id, settlement.ids_taken)
        case _:
            raise TypeError(type(cursor).__name__)
    _record(connection, stream_id, settlement)
    return move_stretch(connection, cursor, page.position)


def _record(connection: Connection, stream_id: int, settlement: Settlement) -> None:
    record_gap(connection, stream_id, settlement.page)
    is_inherited = isinstance(settlement.cursor, Inherited)
    at = settlement.page.served_at
    record_outcomes(connection, stream_id, settlement, at, is_inherited=is_inherited)


def _take_out_of_gaps(connection: Connection, stream_id: int, span: Span, page: Page) -> None:
    """Take what the page holds out of a gap that was recorded from the same position before.

    The tenant keeps its log for longer now. A backfill would send these events once more.
    """
    if page.events:
        begin = page.lost and predecessor(page.lost.before)
        shrink_gaps(connection, stream_id, begin or span.reached, page.position)


def _record_resent(connection: Connection, stream_id: int, settlement: Settlement) -> None:
    page, has_arrived = settlement.page, not isinstance(settlement.cursor, Redelivery)
    if not has_arrived:
        # What retention took in the meantime is lost.
        record_gap(connection, stream_id, page)
    record_resent_outcomes(
        connection, stream_id, settlement, page.served_at, has_arrived=has_arrived
    )


def _refuse_misplaced(cursor: LogCursor, page: Page) -> None:
    """Refuse a page that does not lie above the cursor, or that moves the cursor beyond its end."""
    is_empty = page.position == cursor.reached and not page.events
    is_above = page.position > cursor.reached or is_empty
    is_within = cursor.until is None or page.position <= cursor.until
    are_events_within = all(cursor.reached < event.log_id <= page.position for event in page.events)
    if not (is_above and is_within and are_events_within):
        raise ConflictError(
            f"the page up to {page.position} does not follow on from position {cursor.reached}, "
            f"or goes beyond its end {cursor.until}"
        )


def _refuse_unbelieved(cursor: LogCursor, page: Page) -> None:
    """Refuse to confirm a part of the log unless another clock confirms the server's time.

    A confirmed part was read so late that nothing can still appear in it.
    """
    if page.believed_at is None and page.position > cursor.reached:
        raise ConflictError("cannot confirm: no clock agrees with the time of the answer")


def _move_span(
    connection: Connection, stream_id: int, span: Span, page: Page, late_window: timedelta
) -> Span:
    """Move the span. When the span is finished, join it with the spans that it touches.

    If a finished span is not confirmed up to its end, the second reading still has to read the
    rest. No span will read that rest again, so it becomes an unread stretch.
    """
    spans = read_spans(connection, span.stream, stream_id)
    current = find_unmoved(spans, span)
    _refuse_page_of_others(spans, span, page)
    moved = advance(current, page, late_window=late_window)
    write_position(connection, moved)
    _take_out_of_gaps(connection, stream_id, span, page)
    if moved.is_done:
        if moved.confirmed < moved.reached:
            leave_unread(connection, stream_id, moved.confirmed, moved.reached)
        join_spans(connection, span.stream, stream_id)
    return moved


def _refuse_page_of_others(spans: Iterable[Span], span: Span, page: Page) -> None:
    """Refuse a page that reaches into what another span settled or the live span owns."""
    for other in spans:
        is_ahead = other.is_live or other.reached > span.reached
        if other.id != span.id and other.after < page.position and is_ahead:
            raise ConflictError(f"the page overlaps the span above {other.after}")


def _move_confirmed(
    connection: Connection, stream_id: int, cursor: SecondReading, page: Page
) -> None:
    """Move `confirmed` of the live span to the end of the page."""
    columns = schema.span.c
    live = (columns.id == cursor.id, columns.stream_id == stream_id, columns.until.is_(None))
    query = select(columns.confirmed, columns.reached, columns.fence).where(*live)
    current = connection.execute(query).one_or_none()
    if current is None:
        raise ConflictError(f"there is no live span {cursor.id}")
    check_fence(current.fence, cursor.fence)
    if current.confirmed != cursor.reached:
        raise ConflictError(
            f"`confirmed` of span {cursor.id} is {current.confirmed} and not {cursor.reached}: "
            "someone else moved it"
        )
    if page.position > current.reached:
        raise ConflictError(
            f"the second reading is beyond the first, which stands at {current.reached}"
        )
    connection.execute(update(schema.span).where(*live).values(confirmed=page.position))
