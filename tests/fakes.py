"""The ports in memory. The contract suite of each port holds for its fake and its real adapter."""

import copy
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from poller.core.counts import TallyKey
from poller.core.errors import (
    ConflictError,
    FatalError,
    RejectedError,
    TakenOverError,
    TransientError,
)
from poller.core.events import Stream, parse_events
from poller.core.file_pages import BadRecord, FileMark, FilePage
from poller.core.log_ids import LogId, floor_id, moment_of, successor
from poller.core.messages import Batch, Message, Receipt
from poller.core.outcomes import Profile, Profiles
from poller.core.pages import Page, advance
from poller.core.ports import AnyCursor
from poller.core.settlement import FileSettlement, Settlement
from poller.core.spans import (
    Gap,
    LogCursor,
    SecondReading,
    Span,
    UnreadStretch,
    catch_up_slices,
    join_touching,
    unfinished_catch_up,
)
from tests.samples import wire

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
STREAM = Stream(domain="acme.us.auth0.com", source_name="web")


def numbered(number: int, at: datetime = NOW) -> LogId:
    """Return the id of the `number`-th event of a moment."""
    return LogId(f"900{at:%Y%m%d%H%M%S%f}{number:033d}")


class FakeLog:
    """A LogSource over records in log-id order. Retention took the records below `floor`."""

    def __init__(self, records: Iterable[Any], *, page_size: int = 100) -> None:
        self.records = list(records)
        self.page_size = page_size
        self.floor = ""
        self.failures: list[Exception] = []
        self.now = NOW
        self.is_time_believed = True
        self.shown: int | None = None
        self.asked: list[LogCursor] = []
        self.nameless: set[LogId] = set()

    def fetch(self, cursor: LogCursor) -> Page:
        self.asked.append(cursor)
        if self.failures:
            raise self.failures.pop(0)
        kept = [
            record
            for record in self.records
            if max(self.floor, _above(cursor.reached)) <= _id(record)
        ]
        page = kept[: self.shown or self.page_size]
        shown = [None if _id(record) in self.nameless else record for record in page]
        while shown and shown[-1] is None:
            shown.pop()
        events = parse_events(shown, after=cursor.reached)
        read = events[-1].log_id if events else cursor.reached
        is_past = cursor.until is not None and (
            (bool(events) and read >= cursor.until) or (not page and self._is_younger(cursor.until))
        )
        newest = moment_of(read) if events and len(page) < self.page_size else None
        is_near = (
            newest is not None
            and self.is_time_believed
            and self.now - newest <= timedelta(seconds=10)
        )
        drained_to = self.now if not page else newest if is_near else None
        return Page(
            events=tuple(
                event for event in events if cursor.until is None or event.log_id <= cursor.until
            ),
            position=cursor.until if cursor.until and is_past else read,
            is_end=not events or (is_past if cursor.until else is_near),
            served_at=self.now,
            believed_at=self.now if self.is_time_believed else None,
            drained_to=drained_to if self.is_time_believed and cursor.until is None else None,
            lost=self._lost(cursor, page),
        )

    def _is_younger(self, until: LogId) -> bool:
        return (
            self.is_time_believed and moment_of(until) is not None and floor_id(self.now) >= until
        )

    def _lost(self, cursor: LogCursor, page: list[Any]) -> Gap | None:
        gone = [record for record in self.records if cursor.reached < _id(record) < self.floor]
        gone = [record for record in gone if cursor.until is None or _id(record) <= cursor.until]
        if not gone:
            return None
        before = LogId(_id(page[0])) if page else successor(LogId(_id(gone[-1])))
        if cursor.until is not None:
            before = min(before, successor(cursor.until))
        is_read_once = isinstance(cursor, SecondReading | UnreadStretch)
        return Gap(after=cursor.reached, before=before, is_read_once=is_read_once)


def _above(log_id: LogId) -> str:
    return f"{log_id}\0"


def _id(record: Any) -> str:
    return str(record["log_id"])


class FakeDirectory:
    """A ProfileDirectory over profiles by user id."""

    def __init__(self, fields: dict[str, dict[str, Any]], *, read_at: datetime = NOW) -> None:
        self.fields = fields
        self.read_at = read_at
        self.asked: list[tuple[str, ...]] = []
        self.failure: Exception | None = None

    def of(self, user_ids: Sequence[str]) -> Profiles:
        self.asked.append(tuple(user_ids))
        if self.failure is not None:
            raise self.failure
        known = [user_id for user_id in user_ids if user_id in self.fields]
        return {
            user_id: Profile(user_id=user_id, read_at=self.read_at, fields=self.fields[user_id])
            for user_id in known
        }


class FakeSink:
    """A MessageSink that keeps the messages it took, in order.

    It refuses a batch with a message for which `refuses` returns true.
    """

    def __init__(self, refuses: Callable[[Message], bool] = lambda message: False) -> None:
        self.refuses = refuses
        self.taken: list[Message] = []
        self.batches: list[Batch] = []
        self.failures: list[Exception | None] = []
        self.now: datetime | None = NOW

    def encode(self, message: Message) -> bytes:
        return json.dumps(wire(message)).encode()

    def send(self, batch: Batch) -> Receipt:
        """Take a batch, or raise the next failure.

        A `TransientError` whose text is "stored" takes the batch before it is raised.
        """
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None and str(failure) != "stored":
            raise failure
        if any(self.refuses(message) for message in batch.messages):
            raise RejectedError("refused", status=400)
        self.batches.append(batch)
        self.taken += batch.messages
        if failure is not None:
            raise failure
        return Receipt(
            message_ids=tuple(message.message_id for message in batch.messages),
            acknowledged_at=self.now,
        )


TAKEN_OVER = TakenOverError("another owner works on it", code="taken-over", hint="end")


class FakeLedger:
    """A Ledger in memory, of one stream."""

    def __init__(
        self, stream: Stream = STREAM, *, late_window: timedelta = timedelta(minutes=10)
    ) -> None:
        self._fences = count(1)
        self._fence = next(self._fences)
        self.stream = stream
        self.late_window = late_window
        self.unread: list[tuple[LogId, LogId]] = []
        self._ids = count(1)
        self._spans: dict[int, Span] = {}
        self.dead_letters: dict[str, str] = {}
        self.lost: list[Gap] = []
        self.tallies = Counter[TallyKey]()
        self.settled: list[str] = []
        self.failures: list[Exception | None] = []
        self._fingerprints: dict[str, str] = {}
        self._settling = threading.Lock()

    def last_fingerprints(self, keys: Sequence[str]) -> dict[str, str]:
        return {key: self._fingerprints[key] for key in keys if key in self._fingerprints}

    def live_span(self) -> Span | None:
        return next((span for span in self._spans.values() if span.is_live), None)

    def spans(self) -> tuple[Span, ...]:
        return tuple(sorted(self._spans.values(), key=lambda span: span.after))

    def begin(self, *, after: LogId, until: LogId | None = None) -> Span:
        if until is not None and until <= after:
            raise ValueError("a span ends above its beginning")
        for other in self._spans.values():
            if other.is_live and until is None:
                raise ConflictError("there is a live span")
            if (until is None or until > other.after) and (
                other.until is None or other.until > after
            ):
                raise ConflictError("the stretch overlaps another span")
        new = Span.unsettled(self.stream, after=after, until=until)
        span = self._insert(new)
        self._join()
        return self._spans[span.id]

    def begin_catch_up(self, live: Span, *, present: LogId, ends: Sequence[LogId]) -> Span:
        found = self._unmoved(live)
        if not found.is_live or present <= found.reached:
            raise ConflictError("no live span lies below the present")
        slices, new = catch_up_slices(found, present=present, ends=ends)
        del self._spans[found.id]
        if found.reached > found.after:
            if found.confirmed < found.reached:
                self.unread.append((found.confirmed, found.reached))
            ended = replace(found, until=found.reached, confirmed=found.reached)
            self._spans[found.id] = ended
        for each in slices:
            self._insert(each)
        begun = self._insert(new)
        self._join()
        return begun

    def backlog(self) -> tuple[Span, ...]:
        return unfinished_catch_up(self.spans())

    def cut(self, cursor: LogCursor, at: LogId) -> tuple[LogCursor, LogCursor]:
        if cursor.until is None or not cursor.reached < at < cursor.until:
            raise ValueError("the span cannot be cut there")
        found = self._unmoved(cursor)
        near = self._spans[found.id] = replace(found, until=at)
        return near, self._insert(replace(found, after=at, reached=at, confirmed=at))

    def _insert(self, span: Span) -> Span:
        numbered_span = replace(span, id=next(self._ids), fence=self._fence)
        self._spans[numbered_span.id] = numbered_span
        return numbered_span

    def reopened(self) -> "FakeLedger":
        """Return the same ledger as a later owner opens it."""
        later = copy.copy(self)
        later._fence = next(self._fences)
        return later

    def begin_work(self, cursor: AnyCursor) -> AnyCursor | None:
        found = self._spans.get(cursor.id)
        if found is None:
            return None
        if found.fence > self._fence:
            raise TAKEN_OVER
        taken = self._spans[found.id] = replace(found, fence=self._fence)
        assert isinstance(taken, type(cursor))
        return taken

    def _unmoved(self, cursor: LogCursor) -> Span:
        found = self._spans.get(cursor.id)
        if cursor.stream != self.stream or found is None:
            raise ConflictError("there is no such span")
        if found.fence > min(cursor.fence, self._fence):
            raise TAKEN_OVER
        if found.fence != self._fence:
            raise ConflictError("nobody began to work on the span")
        if (found.reached, found.until) != (cursor.reached, cursor.until):
            raise ConflictError("the span is not where it was read")
        return found

    def _join(self) -> None:
        joined = {span.id: span for span in join_touching(self._spans.values())}
        self._spans.clear()
        self._spans.update(joined)

    def settle(self, settlement: Settlement) -> LogCursor:
        with self._settling:
            return self._settle(settlement)

    def _settle(self, settlement: Settlement) -> LogCursor:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        span, page = settlement.cursor, settlement.page
        found = self._unmoved(span)
        moves = page.position > span.reached or (page.position == span.reached and not page.events)
        is_above = all(span.reached < event.log_id <= page.position for event in page.events)
        if not moves or not is_above or (span.until is not None and page.position > span.until):
            raise ConflictError("the page does not continue the span")
        for other in self._spans.values():
            if (
                other.id != span.id
                and other.after < page.position
                and (other.is_live or other.reached > span.reached)
            ):
                raise ConflictError("the page overlaps another span")
        moved = advance(found, page, late_window=self.late_window)
        if moved.is_done and moved.confirmed < moved.reached:
            self.unread.append((moved.confirmed, moved.reached))
        self._spans[span.id] = moved
        self._join()
        if page.lost is not None:
            self.lost.append(page.lost)
        self.dead_letters.update(
            {letter.event.log_id: letter.reason for letter in settlement.dead_letters}
        )
        self.tallies.update(settlement.tallies)
        self._fingerprints.update(settlement.fingerprints)
        self.settled += [event.log_id for event, _ in settlement.by_event()]
        return moved


class FakeFileLedger(FakeLedger):
    """A FileLedger in memory. Each settle raises the next of `failures`."""

    def __init__(self, stream: Stream = STREAM) -> None:
        super().__init__(stream)
        self.marks: list[FileMark] = []

    def gaps(self) -> tuple[Gap, ...]:
        return tuple(self.lost)

    def file_marks(self) -> tuple[FileMark, ...]:
        return tuple(self.marks)

    def settle_file(self, settlement: FileSettlement) -> None:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        page = settlement.page
        if (page.moves is not None and page.moves not in self.marks) or page.end in self.marks:
            raise ConflictError("the mark was moved")
        self.marks = [mark for mark in self.marks if mark != page.moves] + [page.end]
        self.dead_letters.update(
            {letter.event.log_id: letter.reason for letter in settlement.dead_letters}
        )
        self.tallies.update(settlement.tallies)
        self._fingerprints.update(settlement.fingerprints)
        self.settled += [event.log_id for event, _ in settlement.by_event()]


LATER = TransientError("later", retry_after=timedelta(seconds=1))
STORED = TransientError("stored")
NEVER = FatalError("never", code="log-empty", hint="do something")


class FakeReading:
    """A reading of a file with the given pages. Each event is ten bytes long."""

    def __init__(self, *pages: list[Any], begun_at: int = 0) -> None:
        self._pages = pages
        self.begun_at = self._mark(begun_at)

    def _mark(self, offset: int) -> FileMark:
        return FileMark(fingerprint=f"file-{offset}", offset=offset, line=offset // 10)

    def pages(self) -> Iterator[FilePage]:
        offset, moves = self.begun_at.offset, None
        for records in self._pages:
            offset += 10 * len(records)
            events = parse_events(records, after=LogId(f"file-{offset}"))
            lines = enumerate(events, (offset - 10 * len(records)) // 10 + 1)
            bad = tuple(
                BadRecord(log_id=event.log_id, line=line, why="no type")
                for line, event in lines
                if event.defect
            )
            end = self._mark(offset)
            yield FilePage(events=events, bad=bad, moves=moves, end=end, served_at=NOW)
            moves = end
