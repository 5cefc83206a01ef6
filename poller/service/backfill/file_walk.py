"""The walk through a file of log events: what is not settled yet goes to Segment, page by page."""

import threading
from bisect import bisect_left
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from poller.core.delivery import BatchSender
from poller.core.events import LogEvent, is_derived, judge_dates
from poller.core.file_pages import BadRecord, FileMark, FilePage, UnreadableFileError
from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.ports import FileLedger, ProfileDirectory
from poller.core.settlement import FileSettlement, account_file
from poller.core.spans import Gap, Span
from poller.core.translation.change_detection import drop_unchanged, keys_to_check
from poller.core.translation.log_types import KNOWN_TYPES
from poller.core.translation.translator import Translator
from poller.service.upstream.retry import LONG_PATIENCE, retrying

REMEMBERED = 10_000
"""Events of this run that are known again: a stream delivers at least once, and what it repeats, soon after."""
_TELLING_PAGE = 10
_OPENING_PAGES = 20
"""Pages in which at least one record of a log of Auth0 has a type that Auth0 has published."""
_NAMED_TYPES = 5
TYPE_NAME_LIMIT = 60


class PageReader(Protocol):
    """One reading of a file; a page is asked for when the one before is settled."""

    @property
    def begun_at(self) -> FileMark: ...

    def pages(self) -> Iterator[FilePage]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeFilter:
    """The wanted part `(since, until]` of the log; None is no bound.

    An event whose log id holds no time is judged by its date, and is wanted where it has none.
    """

    since: LogId | None = None
    until: LogId | None = None

    def holds(self, event: LogEvent) -> bool:
        if is_derived(event.log_id):
            return True
        place = event.log_id if moment_of(event.log_id) else None
        if place is None and event.date is not None:
            place = floor_id(event.date)
        if place is None:
            return True
        return (self.since is None or place > self.since) and (
            self.until is None or place <= self.until
        )


class SettledIds:
    """Which log ids are settled by spans; what was lost in a gap is not."""

    def __init__(self, spans: Iterable[Span], gaps: Iterable[Gap]) -> None:
        self._spans = tuple(spans)
        self._gaps = tuple(gaps)
        self._stretches: list[tuple[LogId, LogId]] = []
        for after, reached in sorted((span.after, span.reached) for span in self._spans):
            if self._stretches and after <= self._stretches[-1][1]:
                begin, end = self._stretches.pop()
                self._stretches.append((begin, max(end, reached)))
            else:
                self._stretches.append((after, reached))

    def is_of(self, spans: Sequence[Span], gaps: Sequence[Gap]) -> bool:
        return self._spans == tuple(spans) and self._gaps == tuple(gaps)

    def holds(self, log_id: LogId) -> bool:
        place = bisect_left(self._stretches, (log_id,)) - 1
        if place < 0 or log_id > self._stretches[place][1] or is_derived(log_id):
            return False
        return not any(gap.after < log_id < gap.before for gap in self._gaps)


class RecentIds:
    """The log ids that were settled last, over all files of a run. Thread-safe."""

    def __init__(self, capacity: int = REMEMBERED) -> None:
        self._capacity = capacity
        self._ids: OrderedDict[LogId, None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, log_id: object) -> bool:
        with self._lock:
            return log_id in self._ids

    def add(self, log_ids: Iterable[LogId]) -> None:
        with self._lock:
            self._ids.update(dict.fromkeys(log_ids))
            while len(self._ids) > self._capacity:
                self._ids.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileForwarded:
    """A page of a file that is durable.

    Of its events `skipped` lie in settled spans, `outside` of what is wanted, and `repeated` came before in this run.
    """

    settlement: FileSettlement
    bad: tuple[BadRecord, ...]
    skipped: int
    outside: int
    repeated: int


class FileWalk:
    """Forwards files, one at a time; what one thread walks with."""

    def __init__(  # noqa: PLR0913 - the ports, and how far to go
        self,
        *,
        profiles: ProfileDirectory,
        translator: Translator,
        sender: BatchSender,
        ledger: FileLedger,
        wanted: RangeFilter,
        recent: RecentIds,
        stopping: threading.Event | None = None,
        patience: timedelta = LONG_PATIENCE,
        settles_empty: bool = False,
    ) -> None:
        self._settles_empty = settles_empty
        self._profiles = profiles
        self._translator = translator
        self._sender = sender
        self._ledger = ledger
        self._wanted = wanted
        self._recent = recent
        self._stopping = stopping or threading.Event()
        self._patience = patience
        self._settled = SettledIds((), ())

    def pages(self, reading: PageReader) -> Iterator[FileForwarded]:
        """A yield means durable; where later may do, the page at hand is tried again for `patience`.

        A file is not settled before one of its records has a known type, unless empty files are settled too.

        Raises:
            UnreadableFileError: the file begins with a page of bad records, or no type in it is known. Nothing of it
                was settled.
            TransientError, FatalError: as `forward`; the file is settled up to the last yield.
        """
        pages = map(_judged, reading.pages())
        is_begun = reading.begun_at.offset > 0
        for page in pages if is_begun or self._settles_empty else _with_known_type(pages):
            for attempt in retrying(self._patience, self._stopping):
                with attempt:
                    forwarded = self._forward(page)
            yield forwarded

    def _forward(self, page: FilePage) -> FileForwarded:
        taken, left = self._sifted(page.events)
        selection = self._translator.select(taken, page.believed_at)
        calls = self._translator(selection, self._profiles.of(selection.users))
        calls = drop_unchanged(calls, self._ledger.last_fingerprints(keys_to_check(calls)))
        settlement = account_file(page, taken, calls, self._sender.deliver(calls.messages))
        self._ledger.settle_file(settlement)
        ids = {event.log_id for event in taken}
        self._recent.add(ids)
        bad = tuple(record for record in page.bad if record.log_id in ids)
        return FileForwarded(settlement=settlement, bad=bad, **left)

    def _sifted(self, events: Iterable[LogEvent]) -> tuple[list[LogEvent], dict[str, int]]:
        """The events to be settled, and how many are left out for which reason."""
        spans = self._ledger.spans()
        gaps = tuple(gap for gap in self._ledger.gaps() if not gap.is_read_once)
        if not self._settled.is_of(spans, gaps):
            self._settled = SettledIds(spans, gaps)
        taken: dict[LogId, LogEvent] = {}
        left = {"skipped": 0, "outside": 0, "repeated": 0}
        for event in events:
            if not self._wanted.holds(event):
                left["outside"] += 1
            elif self._settled.holds(event.log_id):
                left["skipped"] += 1
            elif event.log_id in taken or event.log_id in self._recent:
                left["repeated"] += 1
            else:
                taken[event.log_id] = event
        return list(taken.values()), left


def _judged(page: FilePage) -> FilePage:
    return replace(page, events=judge_dates(page.events, page.believed_at))


def _with_known_type(pages: Iterator[FilePage]) -> Iterator[FilePage]:
    """The pages, once a record among the first of them has a type that Auth0 has published.

    Raises:
        UnreadableFileError: none has, and there are readable records, or lines of text alone.
    """
    opening: list[FilePage] = []
    for page in pages:
        if not opening and len(page.bad) == len(page.events) >= _TELLING_PAGE:
            first = page.bad[0]
            raise UnreadableFileError(
                f"no log of Auth0: line {first.line} is {first.why}, and so it goes on"
            )
        opening.append(page)
        if any(event.type in KNOWN_TYPES for event in page.events):
            yield from opening
            yield from pages
            return
        if len(opening) == _OPENING_PAGES:
            break
    problem = _nothing_known(opening)
    if problem is not None:
        raise UnreadableFileError(problem)
    yield from opening
    yield from pages


def _nothing_known(pages: Iterable[FilePage]) -> str | None:
    """Return why pages without a known type are no log of Auth0's; None where they hold only bad records, if any."""
    events = [event for page in pages for event in page.events]
    types = Counter(ascii(event.type[:TYPE_NAME_LIMIT]) for event in events if not event.defect)
    if types:
        named = ", ".join(
            f"{name} {count} times" for name, count in types.most_common(_NAMED_TYPES)
        )
        return (
            f"no log of Auth0: it has only types that Auth0 has not published: {named} "
            "(--settle-empty settles the file all the same)"
        )
    lines = [line for page in pages for line in page.text_lines]
    return (
        f"no log of Auth0: line {lines[0]} is no JSON object, and so it goes on"
        if lines and not events
        else None
    )
