"""Slices of the past, walked at once; who has none left takes the far half of what another has most of."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from poller.core.errors import TransientError
from poller.core.forward import Forwarded
from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.spans import LogCursor
from poller.service.lifecycle.cycles import CycleCount
from poller.service.lifecycle.one_shot import drain
from poller.service.lifecycle.process import Failed, Finished, Process, Reason
from poller.service.observability.page_log import report
from poller.service.slices.deferred_identify import Identified, IdentifyRunner
from poller.service.upstream.retry import LONG_PATIENCE

CUT_MINIMUM_PAGES = 4.0
"""A cut costs about two requests more: a page that is read twice, and the proof that retention took nothing."""
PROGRESS_INTERVAL_TICKS = 30
_WAIT_S = 0.2

log = structlog.get_logger()

Walk = Callable[[LogCursor], Iterator[Forwarded]]


class Slices(Protocol):
    """What of a ledger a backfill needs beside `forward`."""

    def current(self, span: LogCursor) -> LogCursor | None:
        """The span as it is recorded now; None where nothing is left of it."""
        ...

    def cut(self, span: LogCursor, at: LogId) -> tuple[LogCursor, LogCursor]:
        """The part up to `at`, and the rest as a span of its own."""
        ...


@dataclass(slots=True, kw_only=True)
class Slice:
    """A span at work, and where it began, since a join moves the beginning of the span.

    `page_time` is how much of the log's time a page takes, as far as was seen.
    """

    span: LogCursor
    after: LogId
    pages: int = 0
    events: int = 0
    page_time: timedelta | None = None

    @property
    def pages_left(self) -> float:
        """About how many; 0 where nothing is known."""
        left = self.time_left
        return left / self.page_time if left and self.page_time else 0.0

    @property
    def time_left(self) -> timedelta:
        return _between(self.span.reached, self.span.until)

    @property
    def part_done(self) -> float:
        whole = _between(self.after, self.span.until)
        return 1 - self.time_left / whole if whole else 1.0

    def move(self, forwarded: Forwarded) -> None:
        count = len(forwarded.settlement.page.events)
        took = _between(self.span.reached, forwarded.span.reached)
        self.span = forwarded.span
        self.pages += 1
        self.events += count
        if count and took:
            seen = took * (100 / count)
            self.page_time = seen if self.page_time is None else (self.page_time + seen) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it has come; `slices` are those at work, by log id, `time_left` that of all there are."""

    slices: tuple[Slice, ...]
    waiting: int
    done: int
    time_left: timedelta
    pages_left: float
    identified: Identified
    is_identifying: bool


class Backfill:
    """Walks slices in threads, the oldest first: retention eats from that side. Then identifies whom they showed."""

    def __init__(
        self,
        walker: Callable[[], Walk],
        slices: Slices,
        process: Process,
        *,
        parallel: int,
        identifying: IdentifyRunner | None = None,
        patience: timedelta = LONG_PATIENCE,
    ) -> None:
        self._walker = walker
        self._slices = slices
        self._process = process
        self._parallel = parallel
        self._identifying = identifying
        self._patience = patience
        self._todo: deque[LogCursor] = deque()
        self._changed = threading.Condition()
        self._at_work: dict[int, Slice] = {}
        self._idle = 0
        self._workers_left = 0
        self._done = 0
        self._ticks = 0
        self.count = CycleCount()
        self.lost = 0
        """Stretches that retention took before they were read."""

    def run(self, spans: Sequence[LogCursor], on_tick: Callable[[], None] | None = None) -> Reason:
        """Walks them all; ends early by a signal, or by the first slice that cannot go on."""
        self._todo.extend(sorted(spans, key=lambda span: span.reached))
        self._workers_left = self._parallel
        for number in range(self._parallel):
            threading.Thread(
                target=self._work, args=(number,), name=f"slice-{number}", daemon=True
            ).start()
        return self._process.wait(on_tick or self._tell)

    @property
    def progress(self) -> Progress:
        with self._changed:
            slices = sorted(self._at_work.values(), key=lambda at_work: at_work.span.reached)
            known = [each.page_time for each in slices if each.page_time]
            page_time = sum(known, timedelta()) / len(known) if known else None
            waiting = sum((_between(span.reached, span.until) for span in self._todo), timedelta())
            pages_left = sum(each.pages_left for each in slices) + (
                waiting / page_time if page_time else 0.0
            )
            return Progress(
                slices=tuple(slices),
                waiting=len(self._todo),
                done=self._done,
                time_left=waiting + sum((each.time_left for each in slices), timedelta()),
                pages_left=pages_left,
                identified=self._identifying.done if self._identifying else Identified(),
                is_identifying=self._identifying is not None and self._identifying.is_begun,
            )

    def _work(self, number: int) -> None:
        reason: Reason | None = None
        with self._process.working():
            try:
                self._walk_all(number)
                if self._identifying is not None:
                    self._identifying.work()
            except BaseException as error:  # noqa: BLE001 - told by the main thread, bug or not
                reason = Failed(error)
        with self._changed:
            self._workers_left -= 1
            is_last = self._workers_left == 0
        if reason is not None:
            self._process.end(reason)
        elif is_last:
            self._process.end(Finished())

    def _walk_all(self, number: int) -> None:
        walk = self._walker()
        while (span := self._next(number)) is not None:
            try:
                drain(
                    lambda: self._pages(walk, number),
                    self._patience,
                    stopping=self._process.stopping,
                )
            except TransientError:
                if not self._process.stopping.is_set():
                    raise
            finally:
                self._leave(number)
            log.debug("slice.left", after=span.after)

    def _next(self, number: int) -> LogCursor | None:
        """A slice to walk, as soon as there is one; None when all is walked."""
        with self._changed:
            self._idle += 1
            try:
                while not self._process.stopping.is_set():
                    if self._todo:
                        span = self._todo.popleft()
                        self._at_work[number] = Slice(span=span, after=span.after)
                        return span
                    if not self._at_work:
                        self._changed.notify_all()
                        return None
                    self._changed.wait(_WAIT_S)
                return None
            finally:
                self._idle -= 1

    def _leave(self, number: int) -> None:
        with self._changed:
            self._done += 1
            del self._at_work[number]
            self._changed.notify_all()

    def _pages(self, walk: Walk, number: int) -> Iterator[Forwarded]:
        """The slice of this worker to its end, as the ledger has it now, whatever is cut off it meanwhile."""
        at_work = self._at_work[number]
        found = self._slices.current(at_work.span)
        while found is not None and not found.is_done:
            with self._changed:
                at_work.span = found
            found = None
            for forwarded in walk(at_work.span):
                report(forwarded)
                with self._changed:
                    at_work.move(forwarded)
                    self.count.add(forwarded.settlement)
                    self.lost += forwarded.settlement.page.lost is not None
                yield forwarded
                if self._process.stopping.is_set():
                    return
                if forwarded.settlement.page.is_end and not forwarded.span.is_done:
                    return  # the log ends here: nothing lies beyond, and nothing proves it yet
                found = self._share(at_work)
                if found is not None:
                    break

    def _share(self, mine: Slice) -> LogCursor | None:
        """Cuts the far half off, if someone waits for it and nobody has more; what is left, if so."""
        with self._changed:
            is_wanted = self._idle > len(self._todo) and mine.pages_left >= CUT_MINIMUM_PAGES
            if not is_wanted or any(
                other.pages_left > mine.pages_left for other in self._at_work.values()
            ):
                return None
            at = _middle(mine.span)
            if at is None:
                return None
            near, far = self._slices.cut(mine.span, at)
            self._todo.append(far)
            self._changed.notify_all()
            return near

    def _tell(self) -> None:
        self._ticks += 1
        if self._ticks % PROGRESS_INTERVAL_TICKS == 0:
            now = self.progress
            log.info(
                "backfill.progressed",
                slices_left=now.waiting + len(now.slices),
                pages_left=round(now.pages_left),
                identified=now.identified.sent,
                **self.count.facts(),
            )


def _between(after: LogId, until: LogId | None) -> timedelta:
    begin, end = moment_of(after), moment_of(until or after)
    return max(end - begin, timedelta()) if begin and end else timedelta()


def _middle(span: LogCursor) -> LogId | None:
    """The middle of what is left, by time; None where there is no place between."""
    begin = moment_of(span.reached)
    if begin is None or span.until is None:
        return None
    at = floor_id(begin + _between(span.reached, span.until) / 2)
    return at if span.reached < at < span.until else None
