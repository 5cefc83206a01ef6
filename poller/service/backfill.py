"""A range of the log that no span holds yet, cut into slices that are walked at once."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from poller.core.errors import TransientError
from poller.core.events import EARLIEST, LogId, Span, floor_id, moment_of, predecessor
from poller.core.forward import Forwarded
from poller.service.once import drain
from poller.service.process import Failed, Finished, Process, Reason
from poller.service.retry import PATIENCE
from poller.service.telemetry import CycleCount

SLICES_A_WORKER = 4
"""The log is uneven: with some slices each, whoever drew short ones takes more of them."""
SHORTEST_SLICE = timedelta(minutes=10)
PROGRESS_EVERY_TICKS = 30

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part `(after, until]` of the log."""

    after: LogId
    until: LogId


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done about `(since, until]`: stretches in no span, and spans that were begun and not finished.

    `kept_from` is the oldest event kept, where a range was asked for that begins below it.
    """

    since: LogId
    until: LogId
    missing: tuple[Stretch, ...]
    unfinished: tuple[Span, ...]
    kept_from: LogId | None = None

    @property
    def is_empty(self) -> bool:
        return not self.missing and not self.unfinished


def plan(spans: Sequence[Span], since: LogId, until: LogId, *, oldest: LogId | None, latest: LogId | None) -> Plan:
    """The plan for what was asked for, as far as the log goes and up to where the live span begins.

    `until` comes down to the newest event there is: only by seeing an event there does a span reach its end.
    """
    bounds = [until, *(span.after for span in spans if span.is_live), *([latest] if latest else [])]
    until = min(bounds)
    is_below = oldest is not None and since < (predecessor(oldest) or oldest)
    is_asked_for = since != EARLIEST
    if oldest is not None and is_below:
        since = predecessor(oldest) or EARLIEST
    if oldest is None or since >= until:
        return Plan(since=since, until=max(since, until), missing=(), unfinished=())
    covered = [Stretch(after=span.after, until=span.until) for span in spans if span.until is not None]
    unfinished = [
        span
        for span in spans
        if span.until is not None and not span.is_done and span.after < until and span.until > since
    ]
    return Plan(
        since=since,
        until=until,
        missing=tuple(_without(Stretch(after=since, until=until), covered)),
        unfinished=tuple(unfinished),
        kept_from=oldest if is_below and is_asked_for else None,
    )


def cut(stretches: Sequence[Stretch], pieces: int) -> tuple[Stretch, ...]:
    """The stretches in about so many slices of equal time, oldest first; none shorter than it is worth."""
    total = sum((_length(stretch) for stretch in stretches), timedelta())
    wanted = max(total / max(pieces, 1), SHORTEST_SLICE)
    return tuple(piece for stretch in stretches for piece in _cut(stretch, wanted))


class Backfill:
    """Walks slices in threads, the oldest first: retention eats from that side."""

    def __init__(
        self,
        walker: Callable[[], Callable[[Span], Iterator[Forwarded]]],
        current: Callable[[int], Span],
        process: Process,
        *,
        parallel: int,
        patience: timedelta = PATIENCE,
    ) -> None:
        self._walker = walker
        self._current = current
        self._process = process
        self._parallel = parallel
        self._patience = patience
        self._todo: queue.SimpleQueue[Span] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._ticks = 0
        self.count = CycleCount()

    def run(self, slices: Sequence[Span]) -> Reason:
        """Walks them all; ends early by a signal, or by the first slice that cannot go on."""
        for span in sorted(slices, key=lambda span: span.after):
            self._todo.put(span)
        workers = [
            threading.Thread(target=self._work, name=f"slice-{number}", daemon=True)
            for number in range(min(self._parallel, len(slices)))
        ]
        self._left = len(workers)
        for worker in workers:
            worker.start()
        return self._process.wait(self._tell)

    def _work(self) -> None:
        reason: Reason | None = None
        with self._process.working():
            try:
                self._walk_all(self._walker())
            except BaseException as error:  # noqa: BLE001 - told by the main thread, bug or not
                reason = Failed(error)
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
        if reason is not None:
            self._process.end(reason)
        elif is_last:
            self._process.end(Finished())

    def _walk_all(self, walk: Callable[[Span], Iterator[Forwarded]]) -> None:
        while not self._process.stopping.is_set():
            try:
                span = self._todo.get_nowait()
            except queue.Empty:
                return
            try:
                drain(lambda number=span.id: self._pages(walk, number), self._patience)  # type: ignore[misc] # bound now
            except TransientError:
                if not self._process.stopping.is_set():
                    raise

    def _pages(self, walk: Callable[[Span], Iterator[Forwarded]], number: int) -> Iterator[Forwarded]:
        for forwarded in walk(self._current(number)):
            with self._lock:
                self.count.add(forwarded.settlement)
            yield forwarded
            if self._process.stopping.is_set():
                return
            if forwarded.settlement.page.is_end and not forwarded.span.is_done:
                return  # the log ends here: nothing lies beyond, and nothing proves it yet

    def _tell(self) -> None:
        self._ticks += 1
        if self._ticks % PROGRESS_EVERY_TICKS == 0:
            with self._lock:
                log.info("backfill.progressed", slices_left=self._todo.qsize(), **self.count.facts())


def _without(whole: Stretch, covered: Sequence[Stretch]) -> Iterator[Stretch]:
    """What of the whole none of these covers."""
    after = whole.after
    for other in sorted(covered, key=lambda stretch: stretch.after):
        if other.until <= after or other.after >= whole.until:
            continue
        if other.after > after:
            yield Stretch(after=after, until=other.after)
        after = max(after, other.until)
    if after < whole.until:
        yield Stretch(after=after, until=whole.until)


def _length(stretch: Stretch) -> timedelta:
    begin, end = moment_of(stretch.after), moment_of(stretch.until)
    return max(end - begin, timedelta()) if begin and end else timedelta()


def _cut(stretch: Stretch, wanted: timedelta) -> Iterator[Stretch]:
    begin = moment_of(stretch.after)
    pieces = int(_length(stretch) / wanted) if begin else 0
    rest = stretch
    for number in range(1, pieces):
        at = floor_id(begin + number * wanted) if begin else rest.until
        if rest.after < at < rest.until:
            yield Stretch(after=rest.after, until=at)
            rest = replace(rest, after=at)
    yield rest
