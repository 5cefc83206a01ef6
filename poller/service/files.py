"""The walk through a file of log events: what is not settled yet goes to Segment, page by page."""

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from poller.core.events import EARLIEST, Gap, LogEvent, LogId, Span, is_derived, judge_dates
from poller.core.files import BadRecord, FileMark, FilePage, UnreadableFileError
from poller.core.forward import Courier
from poller.core.novelty import facts_in, sift
from poller.core.ports import FileLedger, ProfileDirectory
from poller.core.settlement import FileSettlement, account_file
from poller.core.translate import Translator
from poller.service.retry import LONG_PATIENCE, persistently

REMEMBERED = 10_000
"""Events of this run that are known again: a stream delivers at least once, and what it repeats, soon after."""
_TELLING_PAGE = 10


class Reading(Protocol):
    """One reading of a file; a page is asked for when the one before is settled."""

    @property
    def begun_at(self) -> FileMark: ...

    def pages(self) -> Iterator[FilePage]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What of the log is wanted: `(since, until]`; a record without an id may be of any time."""

    since: LogId = EARLIEST
    until: LogId | None = None

    def holds(self, log_id: LogId) -> bool:
        return is_derived(log_id) or (log_id > self.since and (self.until is None or log_id <= self.until))


class Settled:
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


class Recent:
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
        courier: Courier,
        ledger: FileLedger,
        wanted: Range,
        recent: Recent,
        stopping: threading.Event | None = None,
        patience: timedelta = LONG_PATIENCE,
    ) -> None:
        self._profiles = profiles
        self._translator = translator
        self._courier = courier
        self._ledger = ledger
        self._wanted = wanted
        self._recent = recent
        self._stopping = stopping or threading.Event()
        self._patience = patience
        self._settled = Settled((), ())

    def pages(self, reading: Reading) -> Iterator[FileForwarded]:
        """A yield means durable; where later may do, the page at hand is tried again for `patience`.

        Raises:
            UnreadableFileError: the file begins with a page of bad records; nothing of it was settled.
            TransientError, FatalError: as `forward`; the file is settled up to the last yield.
        """
        is_begun = reading.begun_at.offset > 0
        for page in map(_judged, reading.pages()):
            if not is_begun and len(page.bad) == len(page.events) >= _TELLING_PAGE:
                first = page.bad[0]
                raise UnreadableFileError(f"no log of Auth0: line {first.line} is {first.why}, and so it goes on")
            is_begun = True
            for attempt in persistently(self._stopping, self._patience):
                with attempt:
                    forwarded = self._forward(page)
            yield forwarded

    def _forward(self, page: FilePage) -> FileForwarded:
        taken, left = self._sifted(page.events)
        profiles = self._profiles.of(self._translator.users_in(taken))
        calls = self._translator.events(taken, profiles, now=page.believed_at)
        calls = sift(calls, self._ledger.said(facts_in(calls)))
        settlement = account_file(page, taken, calls, self._courier.deliver(calls.messages))
        self._ledger.settle_file(settlement)
        ids = {event.log_id for event in taken}
        self._recent.add(ids)
        bad = tuple(record for record in page.bad if record.log_id in ids)
        return FileForwarded(settlement=settlement, bad=bad, **left)

    def _sifted(self, events: Iterable[LogEvent]) -> tuple[list[LogEvent], dict[str, int]]:
        """The events to be settled, and how many are left out for which reason."""
        spans, gaps = self._ledger.spans(), self._ledger.gaps()
        if not self._settled.is_of(spans, gaps):
            self._settled = Settled(spans, gaps)
        taken: dict[LogId, LogEvent] = {}
        left = {"skipped": 0, "outside": 0, "repeated": 0}
        for event in events:
            if not self._wanted.holds(event.log_id):
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
