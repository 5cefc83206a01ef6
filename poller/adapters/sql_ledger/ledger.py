"""The ledger of one stream: the port, and what `run` notes beside it."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

from sqlalchemy import Connection, and_, delete, exists, insert, or_, select, update

from poller.adapters.sql_ledger import settle as recording
from poller.adapters.sql_ledger.dead_letters import discard_before
from poller.adapters.sql_ledger.fatal_exit import forget_fatal_exit
from poller.adapters.sql_ledger.sqlite import driver
from poller.adapters.sql_ledger.sqlite.database import Database
from poller.adapters.sql_ledger.tables import file_marks as file_progress
from poller.adapters.sql_ledger.tables import revisits, rows, schema, unread
from poller.adapters.sql_ledger.tables.pending_identifies import (
    count_pending_identifies,
    read_last_sent,
    read_pending_identifies,
    record_last_sent,
    remove_pending_identifies,
)
from poller.adapters.sql_ledger.tables.revisits import Revisit
from poller.core.errors import ConflictError, FatalError
from poller.core.events import Stream
from poller.core.file_pages import FileMark
from poller.core.log_ids import LogId, just_below, predecessor
from poller.core.outcomes import PendingIdentify, QueuedIdentify
from poller.core.settlement import FileSettlement, Settlement
from poller.core.spans import Gap, LogCursor, ReopenedGap, Resend, Span, UnreadStretch
from poller.core.translation.change_detection import LastSent

LATE_WINDOW = timedelta(minutes=10)


class SqlLedger:
    """Implements core's Ledger on SQLite. Thread-safe; other processes may have the same file open."""

    def __init__(
        self,
        database: Database,
        stream: Stream,
        key: int,
        *,
        late_window: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._stream = stream
        self._key = key
        self._late_window = late_window
        self._now = now
        self._said_since: datetime | None = None

    @classmethod
    def open(
        cls,
        url: str,
        stream: Stream,
        *,
        create: bool,
        adopt: bool = False,
        late_window: timedelta = LATE_WINDOW,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        """Opens the stream's ledger; `create` makes what is missing, `adopt` adds the stream to those of others.

        A stream of the same domain that has settled nothing yet is renamed to this one, and its start kept: so it is
        when the first write key was a wrong one.

        Raises:
            TransientError: locked, disk full.
            FatalError: missing, gone since it was made, not writable, damaged, of a later version; or it holds only
                other streams.
        """
        database = Database.open(driver.ledger_path(url), create=create)
        try:
            with database.writing() as connection:
                key = _enrol(connection, stream, create=create, adopt=adopt)
        except BaseException:
            database.close()
            raise
        return cls(database, stream, key, late_window=late_window, now=now)

    def close(self) -> None:
        self._database.close()

    def other_streams(self) -> tuple[Stream, ...]:
        """The streams beside this one."""
        with self._database.reading() as connection:
            return tuple(stream for stream in rows.streams(connection) if stream != self._stream)

    def live_span(self) -> Span | None:
        """The one span without `until`."""
        return next((span for span in self.spans() if span.is_live), None)

    def spans(self) -> tuple[Span, ...]:
        """Every span, by `after`."""
        with self._database.reading() as connection:
            return rows.spans(connection, self._stream, self._key)

    def gaps(self) -> tuple[Gap, ...]:
        """What retention took before it was read, by `after`; they may overlap."""
        with self._database.reading() as connection:
            return rows.gaps(connection, self._key)

    def current(self, cursor: LogCursor) -> LogCursor | None:
        """Return the stretch as it is recorded now, or None where its row is gone.

        A revisit is gone once it is done, a bounded span once it is done and joined to another.
        """
        found = self.spans() if isinstance(cursor, Span) else self.revisits()
        return next((other for other in found if other.id == cursor.id), None)

    def begin(self, *, after: LogId, until: LogId | None = None) -> Span:
        """Begin a span that has settled nothing. See the port.

        Raises:
            ValueError: the stretch is empty.
            ConflictError: a live span exists, or the stretch overlaps another span.
        """
        if until is not None and until <= after:
            raise ValueError("a span ends above its beginning")
        with self._database.writing() as connection:
            spans = rows.spans(connection, self._stream, self._key)
            recording.refuse_overlap(spans, after, until)
            values = {"after": after, "reached": after, "confirmed": after, "until": until}
            new = insert(schema.span).values(stream_id=self._key, **values)
            key = connection.execute(new.returning(schema.span.c.id)).scalar_one()
            if until is None:
                self._write_backfilled_until(connection, None)
            recording.join(connection, self._stream, self._key)
            spans = rows.spans(connection, self._stream, self._key)
            return next(span for span in spans if span.id == key)

    def backfilled_until(self) -> LogId | None:
        """Return where a first start goes on above a backfill that left its end open."""
        columns = schema.stream.c
        with self._database.reading() as connection:
            found = connection.scalar(
                select(columns.backfilled_until).where(columns.id == self._key)
            )
            return None if found is None else LogId(found)

    def note_backfilled_until(self, position: LogId) -> None:
        """Let a first start go on at `position`, where a backfill without an end of its own ends."""
        with self._database.writing() as connection:
            self._write_backfilled_until(connection, position)

    def _write_backfilled_until(self, connection: Connection, position: LogId | None) -> None:
        row = update(schema.stream).where(schema.stream.c.id == self._key)
        connection.execute(row.values(backfilled_until=position))

    def settle(self, settlement: Settlement) -> LogCursor:
        """Record a page and everything that came of it. See the port.

        Raises:
            ConflictError: the cursor is not where the page was read from any more, or the page
                overlaps another span.
            TransientError, FatalError: the database cannot take it.
        """
        if settlement.span.stream != self._stream:
            raise ConflictError("the page is of another stream")
        with self._database.writing() as connection:
            moved = recording.move(connection, self._key, settlement, late_window=self._late_window)
            recording.record(connection, self._key, settlement, moved)
            return moved

    def last_fingerprints(self, keys: Sequence[str]) -> dict[str, str]:
        """Of what Segment was told before, the fingerprints by key."""
        return {key: found.fingerprint for key, found in self.last_sent(keys).items()}

    def last_sent(self, keys: Sequence[str]) -> dict[str, LastSent]:
        """The same, and when it was said."""
        if not keys:
            return {}
        with self._database.reading() as connection:
            return read_last_sent(connection, self._key, keys, since=self._said_since)

    def afresh(self, since: datetime) -> "SqlLedger":
        """Return the same ledger as if Segment had been told of nobody before this moment of the server's."""
        view = SqlLedger(
            self._database, self._stream, self._key, late_window=self._late_window, now=self._now
        )
        view._said_since = since
        return view

    def pending_identifies(self, after: tuple[str, str], limit: int) -> tuple[QueuedIdentify, ...]:
        """Who awaits an identify, up to `limit` above `after`, by Auth0's user id and the one they were sent under."""
        with self._database.reading() as connection:
            return read_pending_identifies(connection, self._key, after, limit)

    def count_pending_identifies(self) -> int:
        with self._database.reading() as connection:
            return count_pending_identifies(connection, self._key)

    def identified(
        self, done: Sequence[PendingIdentify], said: Mapping[str, str], at: datetime
    ) -> None:
        """Records that these await no more, and what Segment was told of them."""
        with self._database.writing() as connection:
            record_last_sent(connection, self._key, said, at)
            remove_pending_identifies(connection, self._key, done)

    def revisits(self) -> tuple[Revisit, ...]:
        """The stretches that are to be walked once more, by `after`."""
        with self._database.reading() as connection:
            return revisits.read(connection, self._stream, self._key)

    def revisit(self, stretches: Sequence[tuple[LogId, LogId]]) -> tuple[Revisit, ...]:
        """Stretches `(after, until]` that are to be sent again, whatever holds them."""
        with self._database.writing() as connection:
            return revisits.begin(connection, self._stream, self._key, Resend, stretches)

    def reopen(self, gap: Gap, oldest: LogId) -> Revisit:
        """A gap that can be read again from the oldest event kept, as a stretch to walk; it shrinks as that is read."""
        after = max(gap.after, just_below(oldest))
        until = predecessor(gap.before) or gap.before
        with self._database.writing() as connection:
            (span,) = revisits.begin(
                connection, self._stream, self._key, ReopenedGap, [(after, until)]
            )
            return span

    def cut(self, span: LogCursor, at: LogId) -> tuple[LogCursor, LogCursor]:
        """A span that has not come so far, up to `at`, and the rest of it as a span that has settled nothing.

        Raises:
            ValueError: `at` is no place to cut.
            ConflictError: the span has moved on.
        """
        if span.until is None or not span.reached < at < span.until:
            raise ValueError(f"span {span.id} cannot be cut at {at}")
        with self._database.writing() as connection:
            if isinstance(span, ReopenedGap | Resend):
                return revisits.cut(connection, self._key, span, at)
            if isinstance(span, Span):
                return recording.cut(connection, self._key, span, at)
        raise ValueError(f"a {type(span).__name__} cannot be cut")

    def forget_last_sent(self, before: datetime, *, keep: int) -> int:
        """Forgets what was said before this moment of the server's, and all but the newest `keep`; returns how many."""
        columns = schema.last_sent.c
        mine = columns.stream_id == self._key
        newest = (
            select(columns.sent_at)
            .where(mine)
            .order_by(columns.sent_at.desc())
            .limit(1)
            .offset(keep)
        )
        with self._database.writing() as connection:
            bound = connection.scalar(newest)
            too_many = [columns.sent_at <= bound] if bound is not None else []
            return connection.execute(
                delete(schema.last_sent).where(mine, or_(columns.sent_at < before, *too_many))
            ).rowcount

    def file_marks(self) -> tuple[FileMark, ...]:
        """How far files were settled."""
        with self._database.reading() as connection:
            return file_progress.marks(connection, self._key)

    def settle_file(self, settlement: FileSettlement) -> None:
        """Records a page of a file and all that came of it; see the port.

        Raises:
            ConflictError: the mark was moved by someone else.
            TransientError, FatalError: the database cannot take it.
        """
        with self._database.writing() as connection:
            page = settlement.page
            file_progress.move(connection, self._key, page)
            is_counted = not page.is_again
            recording.record_outcomes(
                connection, self._key, settlement, page.served_at, is_counted=is_counted
            )

    def unread_stretches(self) -> tuple[UnreadStretch, ...]:
        """Return what second readings still have to pass outside of the live span, oldest first."""
        with self._database.reading() as connection:
            return unread.read(connection, self._stream, self._key)

    def unseen(self, cursor: LogCursor, log_ids: Sequence[LogId]) -> frozenset[LogId]:
        """Return those of these ids, above where the cursor stands, that were not settled."""
        asked = {log_id for log_id in log_ids if log_id > cursor.reached}
        column = schema.recent_id.c.log_id
        query = select(column).where(schema.recent_id.c.stream_id == self._key, column.in_(asked))
        with self._database.reading() as connection:
            return frozenset(asked.difference(connection.scalars(query)))

    def forget_ids(self) -> int:
        """Forget the recent ids that no second reading will pass any more. Return their number."""
        ids, spans, stretches = schema.recent_id.c, schema.span.c, schema.unread_stretch.c
        is_unconfirmed = exists().where(
            spans.stream_id == self._key,
            spans.confirmed < ids.log_id,
            or_(
                spans.until.is_(None),
                and_(spans.reached < spans.until, ids.log_id <= spans.reached),
            ),
        )
        is_unread = exists().where(
            stretches.stream_id == self._key,
            stretches.reached < ids.log_id,
            ids.log_id <= stretches.until,
        )
        old = delete(schema.recent_id).where(
            ids.stream_id == self._key, ~is_unconfirmed, ~is_unread
        )
        with self._database.writing() as connection:
            return connection.execute(old).rowcount

    def stop_second_readings(self) -> None:
        """Confirm everything that was read, since nobody will read it a second time."""
        mine = schema.span.c.stream_id == self._key
        with self._database.writing() as connection:
            confirmed = {"confirmed": schema.span.c.reached}
            connection.execute(update(schema.span).where(mine).values(confirmed))
            for table in (schema.unread_stretch, schema.recent_id):
                connection.execute(delete(table).where(table.c.stream_id == self._key))

    def discard_dead_letters(self, before: datetime) -> int:
        """Removes the dead letters that were buried before this moment of the server's; returns how many."""
        return discard_before(self._database, self._key, before)

    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        """Notes for `status` that a cycle ended, and what stopped it if anything did."""
        with self._database.writing() as connection:
            recording.note(connection, self._key, cycle_at=at, cycle_error=error)
            if error is None:
                forget_fatal_exit(connection)

    def note_blocked(self, error: FatalError | None) -> None:
        """Notes for `status` why nothing moves; None when it does. Since when is kept from the first note on."""
        columns = schema.daemon_status.c
        query = select(
            columns.blocked_since,
            columns.blocked_code,
            columns.blocked_reason,
            columns.blocked_hint,
        )
        code, reason, hint = (error.code, str(error), error.hint) if error else (None, None, None)
        with self._database.writing() as connection:
            found = connection.execute(query.where(columns.stream_id == self._key)).one_or_none()
            since, *was = found or (None, None, None, None)
            if was != [
                code,
                reason,
                hint,
            ]:  # told at every cycle; what changes nothing costs no commit
                since = None if reason is None else since or self._now()
                recording.note(
                    connection,
                    self._key,
                    blocked_since=since,
                    blocked_code=code,
                    blocked_reason=reason,
                    blocked_hint=hint,
                )


def _enrol(connection: Connection, stream: Stream, *, create: bool, adopt: bool) -> int:
    """The key of the stream; a new one where it may be added."""
    known = rows.streams(connection)
    if stream in known:
        return known[stream]
    unused = next(
        (key for other, key in known.items() if rows.may_become(connection, other, key, stream)),
        None,
    )
    if unused is not None:
        names = {"source_name": stream.source_name, "generation": stream.generation}
        connection.execute(update(schema.stream).where(schema.stream.c.id == unused).values(names))
        return unused
    if known and not adopt:
        raise unknown_stream_error(stream, tuple(known))
    if not create:
        raise FatalError(
            f"it holds nothing of {rows.named(stream)}",
            code="stream-unknown",
            hint="`run` begins it",
        )
    new = insert(schema.stream).values(
        domain=stream.domain, source_name=stream.source_name, generation=stream.generation
    )
    return int(connection.execute(new.returning(schema.stream.c.id)).scalar_one())


def unknown_stream_error(stream: Stream, known: tuple[Stream, ...]) -> FatalError:
    return FatalError(
        f"it holds only other streams: {'; '.join(map(rows.named, known))}; not {rows.named(stream)}",
        code="stream-mismatch",
        hint=f'if only segment.write_key was changed, go on with [segment] source_name = "{known[0].source_name}"; '
        "else set auth0.domain or segment.source_name back, or point state.url at a new file; or begin this stream in "
        "the same file with `run --new-stream`",
    )
