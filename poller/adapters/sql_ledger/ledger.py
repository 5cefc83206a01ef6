"""The ledger of one stream: its spans and gaps, and the settling of pages."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Self

from sqlalchemy import Connection, select, update

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.dead_letters import discard_before
from poller.adapters.sql_ledger.outcomes import record_outcomes, record_resent_outcomes
from poller.adapters.sql_ledger.places import place_of
from poller.adapters.sql_ledger.settle import settle_page
from poller.adapters.sql_ledger.stores.alerts import AlertStore
from poller.adapters.sql_ledger.stores.catch_ups import CatchUpStore
from poller.adapters.sql_ledger.stores.daemon_status import DaemonStatusStore
from poller.adapters.sql_ledger.stores.identifies import IdentifyStore
from poller.adapters.sql_ledger.stores.revisits import RevisitStore
from poller.adapters.sql_ledger.stores.second_readings import SecondReadingStore
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.fences import check_fence, draw_fence, raise_fence
from poller.adapters.sql_ledger.tables.file_marks import move_mark, read_marks
from poller.adapters.sql_ledger.tables.gaps import read_gaps
from poller.adapters.sql_ledger.tables.hourly_counts import forget_acknowledged, read_acknowledged
from poller.adapters.sql_ledger.tables.spans import (
    begin_span,
    cut_span,
    read_spans,
    refuse_overlap,
)
from poller.adapters.sql_ledger.tables.streams import enroll, note_beginning, read_beginning
from poller.adapters.sql_ledger.tables.stretches import cut_revisit, read_revisits, read_unread
from poller.core.counts import AcknowledgedCounts
from poller.core.errors import ConflictError
from poller.core.events import Stream
from poller.core.file_pages import FileMark
from poller.core.log_ids import LogId
from poller.core.ports import AnyCursor
from poller.core.settlement import FileSettlement, Settlement
from poller.core.spans import Gap, Inherited, LogCursor, ReopenedGap, Resend, Span, UnreadStretch

LATE_WINDOW = timedelta(minutes=10)


class SqlLedger(
    AlertStore, CatchUpStore, IdentifyStore, RevisitStore, SecondReadingStore, DaemonStatusStore
):
    """Implements core's `Ledger` and `FileLedger` on SQLite.

    Thread-safe. Other processes may have the same file open: every write takes SQLite's write
    lock first, and then compares the rows with what the caller believes. `fence` is the number of
    this owner: see `tables.fences`.
    """

    def __init__(  # noqa: PLR0913 - where it is, whose it is, and who is beside it
        self,
        database: Database,
        stream: Stream,
        stream_id: int,
        *,
        whole: Database,
        neighbours: Collection[Stream],
        fence: int,
        late_window: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        super().__init__(database, stream, stream_id, fence)
        self.whole = whole
        """The database for a caller who writes to several streams."""
        self.neighbours = neighbours
        """The streams of other pipelines, which may be in the ledger."""
        self._late_window = late_window
        self._now = now

    @classmethod
    def open(  # noqa: PLR0913 - where it is, whose it is, and what may be new
        cls,
        url: str,
        stream: Stream,
        *,
        create: bool,
        adopt: bool = False,
        neighbours: Collection[Stream] = (),
        database: Database | None = None,
        late_window: timedelta = LATE_WINDOW,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> Self:
        """Open the ledger of the stream.

        `create` makes a ledger and a stream that are missing. `adopt` adds the stream to a ledger
        that holds others. Those of `neighbours` may be there. A `database` is open already.

        Raises:
            TransientError: the ledger is locked, or the disk is full.
            FatalError: the ledger cannot be used, or holds only other streams.
        """
        opened = database or place_of(url).open(create=create)
        try:
            with opened.writing() as connection:
                own, stream_id = enroll(
                    connection, stream, neighbours, create=create, adopt=adopt, now=now()
                )
                fence = draw_fence(connection, stream_id)
        except BaseException:
            if database is None:
                opened.close()
            raise
        return cls(
            *(opened.of_stream(stream_id), own, stream_id),
            whole=opened,
            neighbours=neighbours,
            fence=fence,
            late_window=late_window,
            now=now,
        )

    def close(self) -> None:
        self._database.close()

    @property
    def fence(self) -> int:
        """The fence number of this owner."""
        return self._fence

    @property
    def stream(self) -> Stream:
        """The stream as the ledger records it, with its names in message ids."""
        return self._stream

    def live_span(self) -> Span | None:
        """Return the one span without `until`, or None before the first start."""
        return next((span for span in self.spans() if span.is_live), None)

    def spans(self) -> tuple[Span, ...]:
        """Return every span, by `after`."""
        with self._database.reading() as connection:
            return read_spans(connection, self._stream, self._stream_id)

    def gaps(self) -> tuple[Gap, ...]:
        """Return what retention removed before it was read, by `after`. Gaps may overlap."""
        with self._database.reading() as connection:
            return read_gaps(connection, self._stream_id)

    def begin_work(self, cursor: AnyCursor) -> AnyCursor | None:
        """Take over the cursor from all earlier owners. Return it as it is recorded now.

        Return None if its row is deleted. The row of a stretch or a revisit is deleted at its end.
        The row of a finished span is deleted when the span is joined to the span above it. SQLite
        may give the id of a deleted row to a new one, so a row that does not lie within the cursor
        is not the cursor's.

        Raises:
            TakenOverError: a later owner has taken it over.
        """
        with self._database.reading() as connection:
            found = self._find(connection, cursor)
        if found is None or found.fence == self._fence:
            return found
        with self._database.writing() as connection:
            raise_fence(connection, found, self._fence)
            return self._find(connection, cursor)

    def _find(self, connection: Connection, cursor: AnyCursor) -> AnyCursor | None:
        read = {Span: read_spans, UnreadStretch: read_unread}.get(type(cursor), read_revisits)
        cursors = read(connection, self._stream, self._stream_id)
        found = next((each for each in cursors if each.id == cursor.id), None)
        if isinstance(found, type(cursor)) and _is_within(found, cursor):
            return found
        return None

    def begin(self, *, after: LogId, until: LogId | None = None) -> Span:
        """Begin a span that has settled nothing. Without `until` it is the live span.

        Raises:
            ValueError: the span would be empty.
            ConflictError: there is a live span already, or the span overlaps another one.
        """
        if until is not None and until <= after:
            raise ValueError("a span ends above its beginning")
        with self._database.writing() as connection:
            spans = read_spans(connection, self._stream, self._stream_id)
            refuse_overlap(spans, after, until)
            if until is None:
                self._write_backfilled_until(connection, None)
                note_beginning(connection, self._stream_id, after)
            new = Span.unsettled(self._stream, after=after, until=until, fence=self._fence)
            return begin_span(connection, self._stream_id, new)

    def cut(self, cursor: LogCursor, at: LogId) -> tuple[LogCursor, LogCursor]:
        """End a bounded span or a revisit at `at`, and begin another one with the rest.

        Raises:
            ValueError: `at` does not lie above the position and below the end.
            TakenOverError: a later owner has taken the span over.
            ConflictError: the span has moved since it was read, or nobody began to work on it.
        """
        if cursor.until is None or not cursor.reached < at < cursor.until:
            raise ValueError(f"span {cursor.id} cannot be cut at {at}")
        check_fence(cursor.fence, self._fence)
        with self._database.writing() as connection:
            match cursor:
                case Span():
                    return cut_span(connection, self._stream_id, cursor, at)
                case ReopenedGap() | Resend() | Inherited():
                    return cut_revisit(connection, self._stream_id, cursor, at)
        raise ValueError(f"a {type(cursor).__name__} cannot be cut")

    def backfilled_until(self) -> LogId | None:
        """Return where a backfill without `until` ended before the first start, or None.

        The first start of the daemon begins there, so that no hole is left between them.
        """
        columns = schema.stream.c
        query = select(columns.backfilled_until).where(columns.id == self._stream_id)
        with self._database.reading() as connection:
            position: str | None = connection.scalar(query)
            return LogId(position) if position else None

    def note_backfilled_until(self, position: LogId) -> None:
        """Let the first start of the daemon begin where a backfill without `until` ends."""
        with self._database.writing() as connection:
            self._write_backfilled_until(connection, position)

    def begun_after(self) -> LogId | None:
        """Return the lowest place at which the daemon was to begin, or None if it never began."""
        with self._database.reading() as connection:
            return read_beginning(connection, self._stream_id)

    def note_beginning(self, position: LogId) -> None:
        """Record where the daemon was to begin, even if a backfill makes it begin above."""
        with self._database.writing() as connection:
            note_beginning(connection, self._stream_id, position)

    def _write_backfilled_until(self, connection: Connection, position: LogId | None) -> None:
        row = update(schema.stream).where(schema.stream.c.id == self._stream_id)
        connection.execute(row.values(backfilled_until=position))

    def settle(self, settlement: Settlement) -> LogCursor:
        """Record in one transaction that a page is done. Return the moved cursor.

        Raises:
            TakenOverError: a later owner has taken the cursor over.
            ConflictError: the cursor has moved since the page was read, nobody began to work on
                it, or the page overlaps another span.
            TransientError, FatalError: the database cannot record it.
        """
        if settlement.cursor.stream != self._stream:
            raise ConflictError("the page is of another stream")
        check_fence(settlement.cursor.fence, self._fence)
        with self._database.writing() as connection:
            return settle_page(
                connection, self._stream_id, settlement, late_window=self._late_window
            )

    def file_marks(self) -> tuple[FileMark, ...]:
        """Return how far each file was settled."""
        with self._database.reading() as connection:
            return read_marks(connection, self._stream_id)

    def settle_file(self, settlement: FileSettlement) -> None:
        """Record in one transaction that a page of a file is done.

        Raises:
            ConflictError: someone else moved the mark.
            TransientError, FatalError: the database cannot record it.
        """
        page = settlement.page
        record = record_resent_outcomes if page.is_again else record_outcomes
        with self._database.writing() as connection:
            move_mark(connection, self._stream_id, page)
            record(connection, self._stream_id, settlement, page.served_at)

    def acknowledged(self, since: datetime, until: datetime) -> AcknowledgedCounts:
        """Return the acknowledged messages of the hours from `since` to before `until`."""
        with self._database.reading() as connection:
            return read_acknowledged(connection, self._stream_id, since, until)

    def forget_acknowledged(self, before: datetime) -> int:
        """Forget the acknowledged messages of the hours before this time of the server's."""
        with self._database.writing() as connection:
            return forget_acknowledged(connection, self._stream_id, before)

    def discard_dead_letters(self, before: datetime) -> int:
        """Delete the dead letters from before this time of the server. Return their number."""
        return discard_before(self._database, self._stream_id, before)


def _is_within(found: LogCursor, cursor: LogCursor) -> bool:
    """Return whether the row can be this cursor, which only moves up and is only cut shorter."""
    if found.until is None or cursor.until is None:
        return found.until == cursor.until
    return cursor.reached <= found.reached and found.until <= cursor.until
