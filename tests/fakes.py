"""The ports, in memory; each is held to the same contract suite as its real adapter."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from poller.core.calls import Profile, Profiles
from poller.core.errors import ConflictError, FatalError, RejectedError, TransientError
from poller.core.events import EARLIEST, Gap, LogId, Page, Span, Stream, begun_at, parse_events
from poller.core.files import BadRecord, FileMark, FilePage
from poller.core.messages import Batch, Message, Receipt
from poller.core.settlement import FileSettlement, Settlement, Tally

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
STREAM = Stream(domain="acme.us.auth0.com", source_name="web")


def numbered(number: int, at: datetime = NOW) -> LogId:
    """The id of the `number`-th event of a moment."""
    return LogId(f"900{at:%Y%m%d%H%M%S%f}{number:033d}")


class FakeLog:
    """A LogSource over records that are given in order; retention took what lies below `floor`."""

    def __init__(self, records: Iterable[Any], *, page_size: int = 100) -> None:
        self.records = list(records)
        self.page_size = page_size
        self.floor = ""
        self.failures: list[Exception] = []
        self.now = NOW
        self.asked: list[Span] = []
        self.nameless: set[LogId] = set()

    def fetch(self, span: Span) -> Page:
        self.asked.append(span)
        if self.failures:
            raise self.failures.pop(0)
        kept = [record for record in self.records if _id(record) >= self.floor and _id(record) > span.reached]
        page = kept[: self.page_size]
        shown = [None if _id(record) in self.nameless else record for record in page]
        events = parse_events(shown, after=span.reached)
        beyond = span.until is not None and any(event.log_id > span.until for event in events)
        if span.until is not None:
            events = tuple(event for event in events if event.log_id <= span.until)
        last = LogId(_id(page[-1])) if page else span.reached
        return Page(
            events=events,
            position=min(last, span.until) if span.until else last,
            is_end=(beyond or not page) if span.until else len(page) < self.page_size,
            served_at=self.now,
            believed_at=self.now,
            lost=self._lost(span, page),
        )

    def _lost(self, span: Span, page: list[Any]) -> Gap | None:
        gone = [record for record in self.records if span.reached < _id(record) < self.floor]
        if span.until is not None:
            gone = [record for record in gone if _id(record) <= span.until]
        if not gone or span.reached == EARLIEST:
            return None
        return Gap(after=span.reached, before=LogId(_id(page[0])) if page else LogId(_id(gone[-1]) + "0"))


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
            user_id: Profile(user_id=user_id, read_at=self.read_at, fields=self.fields[user_id]) for user_id in known
        }


class FakeSink:
    """A MessageSink that keeps what it took, in order; `refuses` picks what makes it refuse a batch."""

    def __init__(self, refuses: Callable[[Message], bool] = lambda message: False) -> None:
        self.refuses = refuses
        self.taken: list[Message] = []
        self.batches: list[Batch] = []
        self.failures: list[Exception | None] = []

    def send(self, batch: Batch) -> Receipt:
        """A failure that is due comes first; a `TransientError` whose text is "stored" has taken the batch."""
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None and str(failure) != "stored":
            raise failure
        if any(self.refuses(message) for message in batch.messages):
            raise RejectedError("refused", status=400)
        self.batches.append(batch)
        self.taken += batch.messages
        if failure is not None:
            raise failure
        return Receipt(message_ids=tuple(message.message_id for message in batch.messages))


class FakeLedger:
    """A Ledger in memory, of one stream."""

    def __init__(self, stream: Stream = STREAM) -> None:
        self.stream = stream
        self._spans: dict[int, Span] = {}
        self.dead_letters: dict[str, str] = {}
        self.lost: list[Gap] = []
        self.tallies: Counter[Tally] = Counter()
        self.settled: list[str] = []
        self.failures: list[Exception | None] = []
        self._said: dict[str, str] = {}

    def said(self, keys: Sequence[str]) -> dict[str, str]:
        return {key: self._said[key] for key in keys if key in self._said}

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
            if (until is None or until > other.after) and (other.until is None or other.until > after):
                raise ConflictError("the stretch overlaps another span")
        span = Span(id=len(self._spans) + 1, stream=self.stream, after=after, reached=after, until=until)
        self._spans[span.id] = span
        return span

    def settle(self, settlement: Settlement) -> Span:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        span, page = settlement.span, settlement.page
        found = self._spans.get(span.id)
        if span.stream != self.stream or found is None or found.reached != span.reached:
            raise ConflictError("the span is not where the page was read from")
        moves = page.position > span.reached or (page.position == span.reached and not page.events)
        if not moves or (span.until is not None and page.position > span.until):
            raise ConflictError("the page does not continue the span")
        for other in self._spans.values():
            if other.id != span.id and other.after < page.position and (other.is_live or other.reached > span.reached):
                raise ConflictError("the page overlaps another span")
        drained_at = page.served_at if page.is_end and span.is_live else found.drained_at
        moved = replace(found, after=begun_at(found, page), reached=page.position, drained_at=drained_at)
        self._spans[span.id] = moved
        if page.lost is not None:
            self.lost.append(page.lost)
        self.dead_letters.update({letter.event.log_id: letter.reason for letter in settlement.dead_letters})
        self.tallies.update(settlement.tallies)
        self._said.update(settlement.said)
        self.settled += [event.log_id for event, _ in settlement.outcomes()]
        return moved


class FakeFileLedger(FakeLedger):
    """A FileLedger in memory; to settle what `failures` names next raises."""

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
        self.dead_letters.update({letter.event.log_id: letter.reason for letter in settlement.dead_letters})
        self.tallies.update(settlement.tallies)
        self._said.update(settlement.said)
        self.settled += [event.log_id for event, _ in settlement.outcomes()]


LATER = TransientError("later", retry_after=timedelta(seconds=1))
STORED = TransientError("stored")
NEVER = FatalError("never", hint="do something")


class FakeReading:
    """A reading of a file of which the pages are given; each event is ten bytes long."""

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
                BadRecord(log_id=event.log_id, line=line, why="no type") for line, event in lines if event.defect
            )
            end = self._mark(offset)
            yield FilePage(events=events, bad=bad, moves=moves, end=end, served_at=NOW)
            moves = end
