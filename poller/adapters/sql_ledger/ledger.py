"""The ledger of one stream, in SQL."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.opening import open_database, stream_id
from poller.adapters.sql_ledger.schema import dead_letters, gaps, recent_ids, spans, streams, tallies
from poller.core.errors import ConflictError
from poller.core.events import LogId, Span, Stream, canonical
from poller.core.settlement import Settlement


class SqlLedger:
    """The Ledger port over one SQLite file; thread-safe, and safe against other processes."""

    def __init__(self, database: Database, stream: Stream, number: int) -> None:
        self._database = database
        self._stream = stream
        self._number = number

    @classmethod
    def open(cls, url: str, stream: Stream, *, create: bool = False) -> "SqlLedger":
        """The ledger at this URL.

        Raises:
            FatalError: none there (without `create`), of other streams, or not usable.
            TransientError: not usable now.
        """
        database = open_database(url, create=create)
        try:
            return cls(database, stream, stream_id(database, stream))
        except BaseException:
            database.close()
            raise

    def close(self) -> None:
        self._database.close()

    def live_span(self) -> Span | None:
        return next((span for span in self.spans() if span.is_live), None)

    def spans(self) -> tuple[Span, ...]:
        with self._database.transaction() as connection:
            return read_spans(connection, self._stream, self._number)

    def begin(self, *, after: LogId, until: LogId | None = None) -> Span:
        """A new span; see the port."""
        with self._database.transaction() as connection:
            if any(_overlaps(other, after, until) for other in read_spans(connection, self._stream, self._number)):
                raise ConflictError(f"a span after {after} overlaps another")
            confirmed = after if until is None else None
            row = {"stream_id": self._number, "after": after, "reached": after, "until": until}
            made = connection.execute(spans.insert().values(confirmed=confirmed, **row))
            number = int(made.inserted_primary_key[0])  # type: ignore[index]  # a single-row insert has one
            return self._span(connection, number)

    def settle(self, settlement: Settlement) -> Span:
        """One transaction: the move and everything that comes with it; see the port."""
        span, page = settlement.span, settlement.page
        with self._database.transaction() as connection:
            self._refuse_overlap(connection, span, page.position)
            self._move(connection, settlement)
            if page.lost is not None:
                row = {"after": page.lost.after, "before": page.lost.before, "found_at": _text(page.served_at)}
                connection.execute(gaps.insert().values(stream_id=self._number, **row))
            self._keep(connection, settlement)
            return self._span(connection, span.id)

    def unseen(self, span: Span, log_ids: Sequence[LogId]) -> frozenset[LogId]:
        """Those of these ids, above `confirmed`, that were not settled."""
        del span
        with self._database.transaction() as connection:
            found = connection.scalars(
                sa.select(recent_ids.c.log_id).where(
                    recent_ids.c.stream_id == self._number, recent_ids.c.log_id.in_(log_ids)
                )
            )
            return frozenset(log_ids) - {LogId(log_id) for log_id in found}

    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        self._note(cycle_at=_text(at), cycle_error=error)

    def note_blocked(self, reason: str | None, hint: str | None) -> None:
        self._note(blocked_reason=reason, blocked_hint=hint)

    def _note(self, **values: str | None) -> None:
        with self._database.transaction() as connection:
            connection.execute(streams.update().where(streams.c.id == self._number).values(**values))

    def _move(self, connection: sa.Connection, settlement: Settlement) -> None:
        """Compare and swap on the position that the page was read from."""
        span, page = settlement.span, settlement.page
        position = spans.c.confirmed if span.is_rereading else spans.c.reached
        values: dict[str, Any] = {position.name: page.position}
        if page.is_end and span.is_live:
            values["drained_at"] = _text(page.served_at)
        moved = connection.execute(
            spans.update()
            .where(spans.c.id == span.id, spans.c.stream_id == self._number, position == span.reached)
            .values(**values)
        )
        if moved.rowcount != 1:
            raise ConflictError(f"the span is no longer at {span.reached}: another writer moved it")

    def _refuse_overlap(self, connection: sa.Connection, span: Span, position: LogId) -> None:
        if span.is_rereading:
            return
        for other in read_spans(connection, self._stream, self._number):
            if other.id != span.id and _overlaps(other, span.reached, position):
                raise ConflictError(f"the page after {span.reached} overlaps another span")

    def _keep(self, connection: sa.Connection, settlement: Settlement) -> None:
        page = settlement.page
        letters = [
            {
                "stream_id": self._number,
                "log_id": letter.event.log_id,
                "type": letter.event.type,
                "reason": letter.reason,
                "status": letter.status,
                "died_at": _text(page.served_at),
                "event": canonical(letter.event.record),
            }
            for letter in settlement.dead_letters
        ]
        if letters:
            connection.execute(insert(dead_letters).on_conflict_do_nothing(), letters)
        self._remember(connection, settlement)
        counts = [
            {
                "stream_id": self._number,
                "hour": _text(tally.hour),
                "type": tally.type,
                "outcome": tally.outcome,
                "events": events,
            }
            for tally, events in settlement.tallies.items()
        ]
        if counts:
            upsert = insert(tallies)
            more = {"events": tallies.c.events + upsert.excluded.events}
            keys = [tallies.c.stream_id, tallies.c.hour, tallies.c.type, tallies.c.outcome]
            connection.execute(upsert.on_conflict_do_update(index_elements=keys, set_=more), counts)

    def _remember(self, connection: sa.Connection, settlement: Settlement) -> None:
        """Ids of interest above `confirmed`, by which the second walk knows what the first has settled."""
        span, page = settlement.span, settlement.page
        if span.is_rereading:
            passed = recent_ids.c.log_id <= page.position
            connection.execute(recent_ids.delete().where(recent_ids.c.stream_id == self._number, passed))
        elif span.confirmed is not None and span.is_live:
            rows = [{"stream_id": self._number, "log_id": log_id} for log_id in settlement.ids_of_interest]
            if rows:
                connection.execute(insert(recent_ids).on_conflict_do_nothing(), rows)

    def _span(self, connection: sa.Connection, number: int) -> Span:
        return next(span for span in read_spans(connection, self._stream, self._number) if span.id == number)


def read_spans(connection: sa.Connection, stream: Stream, number: int) -> tuple[Span, ...]:
    rows = connection.execute(sa.select(spans).where(spans.c.stream_id == number).order_by(spans.c.after))
    return tuple(
        Span(
            id=row.id,
            stream=stream,
            after=LogId(row.after),
            reached=LogId(row.reached),
            until=row.until,
            confirmed=row.confirmed,
            drained_at=datetime.fromisoformat(row.drained_at) if row.drained_at else None,
        )
        for row in rows
    )


def _overlaps(other: Span, after: LogId, until: LogId | None) -> bool:
    """Whether `(after, until]` has something of what the other span covers; the live span owns all above its own."""
    begins_below = until is None or other.after < until
    return begins_below and (other.is_live or other.reached > after)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
