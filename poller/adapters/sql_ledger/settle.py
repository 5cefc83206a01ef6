"""The rows that one settle writes, within its transaction."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from poller.adapters.sql_ledger.sqlite import driver
from poller.adapters.sql_ledger.tables import revisits, rows, schema, unread
from poller.adapters.sql_ledger.tables.pending_identifies import (
    forget_identifies,
    record_last_sent,
    record_pending_identifies,
)
from poller.core.errors import ConflictError
from poller.core.events import LogEvent, Stream, canonical
from poller.core.log_ids import LogId
from poller.core.pages import Page, advance
from poller.core.settlement import (
    DEAD_LETTERED,
    FILE,
    FORWARDED,
    LOG,
    Outcomes,
    Sent,
    Settlement,
    Tally,
    tally,
)
from poller.core.spans import (
    LogCursor,
    ReopenedGap,
    Resend,
    SecondReading,
    Span,
    UnreadStretch,
    join_touching,
)


def refuse_overlap(others: Iterable[Span], after: LogId, until: LogId | None) -> None:
    """A new span may not reach into what another owns: up to its `until`, or for the live one all above its `after`.

    Raises:
        ConflictError: it would.
    """
    for other in others:
        if other.is_live and until is None:
            raise ConflictError(f"there is a live span already, above {other.after}")
        if (until is None or until > other.after) and (other.until is None or other.until > after):
            raise ConflictError(f"the stretch overlaps the span above {other.after}")


def move(
    connection: Connection, stream_id: int, settlement: Settlement, *, late_window: timedelta
) -> LogCursor:
    """Move the cursor to the page's position, if it is still where the page was read from.

    Raises:
        ConflictError: it is not, or the page lies outside of what the cursor may settle.
    """
    cursor, page = settlement.span, settlement.page
    _refuse_stray(cursor, page)
    match cursor:
        case Span():
            return _move_span(connection, stream_id, cursor, page, late_window)
        case SecondReading():
            return _confirm(connection, stream_id, cursor, page)
        case UnreadStretch():
            return unread.move(connection, cursor, page)
        case ReopenedGap() | Resend():
            return revisits.move(connection, cursor, page)
    raise TypeError(type(cursor).__name__)


def join(connection: Connection, stream: Stream, stream_id: int) -> None:
    """Join each finished span to the span that begins where it ends."""
    before = rows.spans(connection, stream, stream_id)
    after = {span.id: span for span in join_touching(before)}
    gone = [span.id for span in before if span.id not in after]
    if not gone:
        return
    columns = schema.span.c
    connection.execute(delete(schema.span).where(columns.id.in_(gone)))
    for span in before:
        if span.id in after and after[span.id].after != span.after:
            values = {"after": after[span.id].after}
            connection.execute(update(schema.span).where(columns.id == span.id).values(values))


def cut(connection: Connection, stream_id: int, span: Span, at: LogId) -> tuple[Span, Span]:
    """The part of a span up to `at`, and the rest as a span of its own.

    Raises:
        ConflictError: the span has moved on.
    """
    columns = schema.span.c
    where = (columns.id == span.id, columns.reached == span.reached, columns.until == span.until)
    if connection.execute(update(schema.span).where(*where).values(until=at)).rowcount != 1:
        raise ConflictError(f"span {span.id} is not at {span.reached}: someone else moved it")
    values = {"after": at, "reached": at, "confirmed": at, "until": span.until}
    far = insert(schema.span).values(stream_id=stream_id, **values)
    return replace(span, until=at), rows.span(
        connection.execute(far.returning(schema.span)).one(), span.stream
    )


def record(
    connection: Connection, stream_id: int, settlement: Settlement, moved: LogCursor
) -> None:
    """Write everything that came of a page. Rows that are there already stay as they are."""
    cursor, page = settlement.span, settlement.page
    if isinstance(cursor, ReopenedGap):
        revisits.shrink_gaps(connection, stream_id, cursor.reached, page.position)
    is_counted = not isinstance(cursor, Resend)
    if is_counted:
        _record_gap(connection, stream_id, page)
    if isinstance(moved, Span):
        _record_ids(connection, stream_id, settlement, above=moved.confirmed)
    record_outcomes(connection, stream_id, settlement, page.served_at, is_counted=is_counted)


def record_outcomes(
    connection: Connection,
    stream_id: int,
    outcomes: Outcomes,
    at: datetime,
    *,
    is_counted: bool = True,
) -> None:
    """Dead letters, tallies, what was said and who awaits an identify, wherever the events came from.

    `at` is the server's time. What is not `is_counted` was settled before.
    """
    buried = _record_dead_letters(connection, stream_id, outcomes, at)
    if (
        not is_counted
    ):  # sent again: what these users were told before may have gone to a wrong source
        forget_identifies(connection, stream_id, outcomes.pending_identifies)
    record_last_sent(connection, stream_id, outcomes.fingerprints, at)
    record_pending_identifies(connection, stream_id, outcomes.pending_identifies, at)
    if is_counted:
        count(connection, stream_id, outcomes.tallies)
        count_tracks(connection, stream_id, outcomes.sent())
    else:
        revived = _revive(connection, stream_id, outcomes, at)
        count_tracks(connection, stream_id, outcomes.sent(revived))
        for event in buried:  # which was forwarded when it was counted
            recount(connection, stream_id, event, FORWARDED, DEAD_LETTERED, at)


def note(connection: Connection, stream_id: int, **values: Any) -> None:
    """Writes these columns of the stream's journal."""
    row = driver.upsert(schema.daemon_status).values(stream_id=stream_id, **values)
    connection.execute(row.on_conflict_do_update(index_elements=["stream_id"], set_=values))


def _refuse_stray(cursor: LogCursor, page: Page) -> None:
    """Refuse a page that does not lie above where it was read from, or moves beyond the end."""
    is_empty_answer = page.position == cursor.reached and not page.events
    moves_up = page.position > cursor.reached or is_empty_answer
    is_above = all(cursor.reached < event.log_id <= page.position for event in page.events)
    if not moves_up or not is_above or (cursor.until is not None and page.position > cursor.until):
        raise ConflictError(
            f"the page up to {page.position} does not continue the position {cursor.reached}"
        )


def _move_span(
    connection: Connection, stream_id: int, span: Span, page: Page, late_window: timedelta
) -> Span:
    spans = rows.spans(connection, span.stream, stream_id)
    found = next((other for other in spans if other.id == span.id), None)
    if found is None:
        raise ConflictError(f"there is no span {span.id}")
    if (found.reached, found.until) != (span.reached, span.until):
        raise ConflictError(
            f"span {span.id} is at {found.reached} and not at {span.reached}: someone else moved it"
        )
    for other in spans:
        ends_above = other.is_live or other.reached > span.reached
        if other.id != span.id and other.after < page.position and ends_above:
            raise ConflictError(f"the page overlaps the span above {other.after}")
    moved = advance(found, page, late_window=late_window)
    if moved.is_done and moved.confirmed < moved.reached:
        unread.begin(connection, stream_id, moved.confirmed, moved.reached)
    values = {
        "reached": moved.reached,
        "confirmed": moved.confirmed,
        "drained_at": moved.drained_at,
    }
    connection.execute(update(schema.span).where(schema.span.c.id == span.id).values(values))
    if moved.is_done:
        join(connection, span.stream, stream_id)
    return moved


def _confirm(
    connection: Connection, stream_id: int, cursor: SecondReading, page: Page
) -> SecondReading:
    """Move `confirmed` of the live span. An answer without a believed time confirms nothing."""
    columns = schema.span.c
    live = (columns.id == cursor.id, columns.stream_id == stream_id, columns.until.is_(None))
    found = connection.execute(
        select(columns.confirmed, columns.reached).where(*live)
    ).one_or_none()
    if found is None or found.confirmed != cursor.reached:
        raise ConflictError(f"span {cursor.id} is not confirmed up to {cursor.reached} any more")
    if page.position > found.reached:
        raise ConflictError(f"nothing above {found.reached} was read a first time")
    if page.believed_at is None and page.position > cursor.reached:
        raise ConflictError("an answer without a believed time confirms nothing")
    change = update(schema.span).where(*live).values(confirmed=page.position)
    connection.execute(change)
    return replace(cursor, reached=page.position)


def _record_gap(connection: Connection, stream_id: int, page: Page) -> None:
    if page.lost is None:
        return
    values = asdict(page.lost) | {"stream_id": stream_id, "noticed_at": page.served_at}
    row = driver.upsert(schema.gap).values(values)
    # Seen from the same position again, a gap may have grown.
    grown = func.max(schema.gap.c.before, row.excluded.before)
    keys = ["stream_id", "after", "is_read_once"]
    connection.execute(row.on_conflict_do_update(index_elements=keys, set_={"before": grown}))


def _record_dead_letters(
    connection: Connection, stream_id: int, outcomes: Outcomes, at: datetime
) -> tuple[LogEvent, ...]:
    """Returns those events that were no dead letters before."""
    columns = schema.dead_letter.c
    ids = [letter.event.log_id for letter in outcomes.dead_letters]
    query = select(columns.log_id).where(columns.stream_id == stream_id, columns.log_id.in_(ids))
    known = set(connection.scalars(query)) if ids else set()
    letters = [
        {
            "stream_id": stream_id,
            "log_id": letter.event.log_id,
            "type": letter.event.type,
            "reason": letter.reason,
            "status": letter.status,
            "event": canonical(letter.event.record),
            "dead_lettered_at": at,
        }
        for letter in outcomes.dead_letters
    ]
    if letters:
        connection.execute(driver.upsert(schema.dead_letter).on_conflict_do_nothing(), letters)
    return tuple(
        letter.event for letter in outcomes.dead_letters if letter.event.log_id not in known
    )


def _record_ids(
    connection: Connection, stream_id: int, settlement: Settlement, *, above: LogId
) -> None:
    """Remember the ids that a second reading still has to pass, so that it leaves them out."""
    ids = [
        {"stream_id": stream_id, "log_id": log_id}
        for log_id in settlement.ids_of_interest
        if log_id > above
    ]
    if ids:
        connection.execute(driver.upsert(schema.recent_id).on_conflict_do_nothing(), ids)


def _revive(connection: Connection, stream_id: int, outcomes: Outcomes, at: datetime) -> set[LogId]:
    """Take what was a dead letter, and was delivered when it was sent again, for forwarded; return the ids."""
    columns = schema.dead_letter.c
    ids = [event.log_id for event in outcomes.forwarded]
    query = delete(schema.dead_letter).where(
        columns.stream_id == stream_id, columns.log_id.in_(ids)
    )
    revived = set(connection.scalars(query.returning(columns.log_id)))
    for event in outcomes.forwarded:
        if event.log_id in revived:
            recount(connection, stream_id, event, DEAD_LETTERED, FORWARDED, at)
    return revived


def recount(
    connection: Connection, stream_id: int, event: LogEvent, was: str, outcome: str, at: datetime
) -> str:
    """Move an event from one outcome to another, where it was counted: in the log's counts, or else in the files'.

    Return that origin.
    """
    key = tally(event, was, at)
    columns = schema.hourly_event_count.c
    query = select(columns.events).where(
        columns.stream_id == stream_id,
        columns.hour == key.hour,
        columns.type == key.type,
        columns.outcome == was,
        columns.origin == LOG,
    )
    origin = LOG if (connection.scalar(query) or 0) > 0 else FILE
    for name, change in ((was, -1), (outcome, 1)):
        count(connection, stream_id, {replace(key, outcome=name, origin=origin): change})
    return origin


def count_tracks(connection: Connection, stream_id: int, sent: Mapping[Sent, int]) -> None:
    """Add these numbers of tracks to what was sent before."""
    found = [
        {
            "stream_id": stream_id,
            "hour": key.hour,
            "type": key.type,
            "track_name": key.name,
            "origin": key.origin,
            "tracks": tracks,
        }
        for key, tracks in sent.items()
    ]
    if found:
        row = driver.upsert(schema.hourly_track_count)
        total = schema.hourly_track_count.c.tracks + row.excluded.tracks
        keys = ["stream_id", "hour", "type", "track_name", "origin"]
        connection.execute(
            row.on_conflict_do_update(index_elements=keys, set_={"tracks": total}), found
        )


def count(connection: Connection, stream_id: int, counted: Mapping[Tally, int]) -> None:
    """Adds these numbers of events to what was counted before."""
    tallies = [
        {
            "stream_id": stream_id,
            "hour": key.hour,
            "type": key.type,
            "outcome": key.outcome,
            "origin": key.origin,
            "events": events,
        }
        for key, events in counted.items()
    ]
    if tallies:
        row = driver.upsert(schema.hourly_event_count)
        total = schema.hourly_event_count.c.events + row.excluded.events
        keys = ["stream_id", "hour", "type", "outcome", "origin"]
        connection.execute(
            row.on_conflict_do_update(index_elements=keys, set_={"events": total}), tallies
        )
