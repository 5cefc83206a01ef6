"""What one settle writes, within its transaction."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from poller.adapters.sql_ledger import revisits, rows, schema, sqlite
from poller.adapters.sql_ledger.awaiting import forget_identifies, record_awaiting, record_said
from poller.core.errors import ConflictError
from poller.core.events import LogEvent, LogId, Page, Span, begun_at, canonical
from poller.core.settlement import DEAD_LETTERED, FILE, FORWARDED, LOG, Outcomes, Settlement, Tally, tally


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


def move(connection: Connection, settlement: Settlement, spans: tuple[Span, ...]) -> Span:
    """Moves the span to the page's position, if it is still where the page was read from.

    Raises:
        ConflictError: it is not, or the page lies outside of what the span may settle.
    """
    span, page = settlement.span, settlement.page
    _refuse_stray(span, page)
    if span.is_revisit:
        return revisits.move(connection, settlement)
    found = next((other for other in spans if other.id == span.id), None)
    if found is None:
        raise ConflictError(f"there is no span {span.id}")
    moved = _reread(span, found, page) if span.is_rereading else _read(span, found, page, spans)
    values = {"confirmed": moved.confirmed} if span.is_rereading else _position(moved)
    connection.execute(update(schema.span).where(schema.span.c.id == span.id).values(values))
    return moved


def cut(connection: Connection, stream_id: int, span: Span, at: LogId) -> tuple[Span, Span]:
    """The part of a span up to `at`, and the rest as a span of its own.

    Raises:
        ConflictError: the span has moved on.
    """
    columns = schema.span.c
    where = (columns.id == span.id, columns.reached == span.reached, columns.until == span.until)
    if connection.execute(update(schema.span).where(*where).values(until=at)).rowcount != 1:
        raise ConflictError(f"span {span.id} is not at {span.reached}: someone else moved it")
    far = insert(schema.span).values(stream_id=stream_id, after=at, reached=at, until=span.until)
    return replace(span, until=at), rows.span(connection.execute(far.returning(schema.span)).one(), span.stream)


def record(connection: Connection, stream_id: int, settlement: Settlement) -> None:
    """All that came of a page; what is there already stays."""
    span, page = settlement.span, settlement.page
    if span.is_revisit and span.is_counted:
        revisits.shrink_gaps(connection, stream_id, span.reached, page.position)
    if span.is_counted:
        _record_gap(connection, stream_id, page)
    if span.is_live or span.is_rereading:
        _record_ids(connection, stream_id, settlement)
    record_outcomes(connection, stream_id, settlement, page.served_at, is_counted=span.is_counted)


def record_outcomes(
    connection: Connection, stream_id: int, outcomes: Outcomes, at: datetime, *, is_counted: bool = True
) -> None:
    """Dead letters, tallies, what was said and who awaits an identify, wherever the events came from.

    `at` is the server's time. What is not `is_counted` was settled before.
    """
    buried = _record_dead_letters(connection, stream_id, outcomes, at)
    if not is_counted:  # sent again: what these users were told before may have gone to a wrong source
        forget_identifies(connection, stream_id, outcomes.awaiting)
    record_said(connection, stream_id, outcomes.said, at)
    record_awaiting(connection, stream_id, outcomes.awaiting, at)
    if is_counted:
        count(connection, stream_id, outcomes.tallies)
    else:
        _revive(connection, stream_id, outcomes, at)
        for event in buried:  # which was forwarded when it was counted
            recount(connection, stream_id, event, FORWARDED, DEAD_LETTERED, at)


def note(connection: Connection, stream_id: int, **values: Any) -> None:
    """Writes these columns of the stream's journal."""
    row = sqlite.upsert(schema.journal).values(stream_id=stream_id, **values)
    connection.execute(row.on_conflict_do_update(index_elements=["stream_id"], set_=values))


def _refuse_stray(span: Span, page: Page) -> None:
    """A page lies above where it was read from, and moves the span past its events."""
    moves_up = page.position > span.reached or (page.position == span.reached and not page.events)
    if not moves_up or (span.until is not None and page.position > span.until):
        raise ConflictError(f"the page up to {page.position} does not continue the span at {span.reached}")


def _read(span: Span, found: Span, page: Page, spans: tuple[Span, ...]) -> Span:
    if (found.reached, found.until) != (span.reached, span.until):
        raise ConflictError(f"span {span.id} is at {found.reached} and not at {span.reached}: someone else moved it")
    for other in spans:
        ends_above = other.is_live or other.reached > span.reached
        if other.id != span.id and other.after < page.position and ends_above:
            raise ConflictError(f"the page up to {page.position} overlaps the span above {other.after}")
    drained_at = page.served_at if page.is_end and span.is_live else found.drained_at
    return replace(found, after=begun_at(found, page), reached=page.position, drained_at=drained_at)


def _reread(span: Span, found: Span, page: Page) -> Span:
    if not found.is_live or (found.confirmed or found.after) != span.reached:
        raise ConflictError(f"span {span.id} is confirmed up to {found.confirmed}: someone else moved it")
    if page.position > found.reached:
        raise ConflictError(f"what is above {found.reached} is not there to be reread")
    return replace(span, reached=page.position, confirmed=page.position)


def _position(span: Span) -> dict[str, Any]:
    return {"after": span.after, "reached": span.reached, "drained_at": span.drained_at}


def _record_gap(connection: Connection, stream_id: int, page: Page) -> None:
    if page.lost is None:
        return
    row = sqlite.upsert(schema.gap).values(
        stream_id=stream_id, after=page.lost.after, before=page.lost.before, noticed_at=page.served_at
    )
    # Seen from the same position again, a gap may have grown.
    grown = func.max(schema.gap.c.before, row.excluded.before)
    connection.execute(row.on_conflict_do_update(index_elements=["stream_id", "after"], set_={"before": grown}))


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
            "buried_at": at,
        }
        for letter in outcomes.dead_letters
    ]
    if letters:
        connection.execute(sqlite.upsert(schema.dead_letter).on_conflict_do_nothing(), letters)
    return tuple(letter.event for letter in outcomes.dead_letters if letter.event.log_id not in known)


def _record_ids(connection: Connection, stream_id: int, settlement: Settlement) -> None:
    ids = [{"stream_id": stream_id, "log_id": log_id} for log_id in settlement.ids_of_interest]
    if ids:
        connection.execute(sqlite.upsert(schema.recent_id).on_conflict_do_nothing(), ids)


def _revive(connection: Connection, stream_id: int, outcomes: Outcomes, at: datetime) -> None:
    """What was a dead letter, and was delivered when it was sent again."""
    columns = schema.dead_letter.c
    ids = [event.log_id for event in outcomes.forwarded]
    query = delete(schema.dead_letter).where(columns.stream_id == stream_id, columns.log_id.in_(ids))
    revived = set(connection.scalars(query.returning(columns.log_id)))
    for event in outcomes.forwarded:
        if event.log_id in revived:
            recount(connection, stream_id, event, DEAD_LETTERED, FORWARDED, at)


def recount(connection: Connection, stream_id: int, event: LogEvent, was: str, outcome: str, at: datetime) -> None:
    """Move an event from one outcome to another, where it was counted: in the log's counts, or else in the files'."""
    key = tally(event, was, at)
    columns = schema.tally.c
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
        row = sqlite.upsert(schema.tally)
        total = schema.tally.c.events + row.excluded.events
        keys = ["stream_id", "hour", "type", "outcome", "origin"]
        connection.execute(row.on_conflict_do_update(index_elements=keys, set_={"events": total}), tallies)
