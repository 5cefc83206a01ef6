"""Threads that walk slices, each one its own, and share the work until all of it is done.

The slices have equal times, and not equal numbers of events: nights are quiet and mornings are
not. So a worker that finishes takes over the second half of the longest remaining slice. For this
the worker of that slice cuts it, between two pages:

1. A worker without a slice waits, and is counted as idle.
2. After each settled page, a worker looks whether more workers are idle than slices are waiting,
   and whether no other slice has more pages left than its own.
3. If so, it cuts its slice in the middle of what is left, by time. It goes on with the first half
   as a new cursor, and puts the second half into the queue, where an idle worker takes it.

The ledger makes the cut in one transaction that fails if the slice has moved. Only the worker of a
slice moves and cuts it, so the cut never meets a page that is on its way.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import structlog

from poller.core.errors import TransientError
from poller.core.forward import Forwarded
from poller.core.log_ids import LogId
from poller.core.spans import LogCursor
from poller.service.lifecycle.cycles import CycleCount
from poller.service.lifecycle.one_shot import drain
from poller.service.lifecycle.process import Failed, Finished, Process, Reason
from poller.service.observability.page_log import report
from poller.service.slices.deferred_identify import Identified, IdentifyRunner
from poller.service.slices.slice import Slice, time_left
from poller.service.upstream.retry import LONG_PATIENCE

CUT_MINIMUM_PAGES = 4.0
"""Pages that must be left for a cut to be worth its cost.

A cut costs about two requests: one page is read by both halves, and the second half needs a proof
that retention removed nothing below it.
"""
PROGRESS_INTERVAL_TICKS = 30
_WAIT_S = 0.2
"""A worker without a slice looks at the queue again after this time, to notice a stop."""

log = structlog.get_logger()

Walk = Callable[[LogCursor], Iterator[Forwarded]]


class SliceLedger(Protocol):
    """The part of a ledger that workers need beside `forward`."""

    def current(self, cursor: LogCursor) -> LogCursor | None:
        """Return the cursor as it is recorded now, or None if its row is deleted."""
        ...

    def cut(self, cursor: LogCursor, at: LogId) -> tuple[LogCursor, LogCursor]:
        """End a cursor at `at`, and begin another one with the rest. Return both."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceProgress:
    """The state of a backfill at one moment.

    `slices` are the slices at work, by log id. `time_left` and `pages_left` hold the
    waiting slices too.
    """

    slices: tuple[Slice, ...]
    waiting: int
    done: int
    time_left: timedelta
    pages_left: float
    identified: Identified
    is_identifying: bool


class SliceWorkers:
    """Walks slices in threads, the oldest first, since retention eats from that side.

    When all slices are done, the same threads send the pending identifies. `walker` makes the walk
    of one thread.
    """

    def __init__(
        self,
        walker: Callable[[], Walk],
        ledger: SliceLedger,
        process: Process,
        *,
        parallel: int,
        identifies: IdentifyRunner | None = None,
        patience: timedelta = LONG_PATIENCE,
    ) -> None:
        self._walker = walker
        self._ledger = ledger
        self._process = process
        self._parallel = parallel
        self._identifies = identifies
        self._patience = patience
        self._waiting: deque[LogCursor] = deque()
        # The condition guards everything below it.
        self._changed = threading.Condition()
        self._at_work: dict[int, Slice] = {}
        self._idle = 0
        self._workers_left = 0
        self._done = 0
        self._ticks = 0
        self.count = CycleCount()
        self.lost = 0
        """Parts of the log that retention removed before they were read."""

    def run(
        self, cursors: Sequence[LogCursor], on_tick: Callable[[], None] | None = None
    ) -> Reason:
        """Walk them all. End early after a signal, or when one slice cannot go on."""
        self._waiting.extend(sorted(cursors, key=lambda cursor: cursor.reached))
        self._workers_left = self._parallel
        for number in range(self._parallel):
            threading.Thread(
                target=self._work, args=(number,), name=f"slice-{number}", daemon=True
            ).start()
        return self._process.wait(on_tick or self._log_progress)

    @property
    def progress(self) -> SliceProgress:
        with self._changed:
            slices = sorted(self._at_work.values(), key=lambda each: each.cursor.reached)
            waiting_time = sum(map(time_left, self._waiting), timedelta())
            page_times = [each.page_time for each in slices if each.page_time]
            pages_left = sum(each.pages_left for each in slices)
            if page_times:
                pages_left += waiting_time * len(page_times) / sum(page_times, timedelta())
            return SliceProgress(
                slices=tuple(slices),
                waiting=len(self._waiting),
                done=self._done,
                time_left=waiting_time + sum((each.time_left for each in slices), timedelta()),
                pages_left=pages_left,
                identified=self._identifies.done if self._identifies else Identified(),
                is_identifying=self._identifies is not None and self._identifies.is_begun,
            )

    def _work(self, number: int) -> None:
        reason: Reason | None = None
        with self._process.working():
            try:
                self._walk_all(number)
                if self._identifies is not None:
                    self._identifies.work()
            except BaseException as error:  # noqa: BLE001 - the main thread raises it again
                reason = Failed(error)
        with self._changed:
            self._workers_left -= 1
            if self._workers_left == 0 and reason is None:
                reason = Finished()
        if reason is not None:
            self._process.end(reason)

    def _walk_all(self, number: int) -> None:
        walk = self._walker()
        while (cursor := self._take(number)) is not None:
            try:
                drain(
                    lambda: self._pages(walk, number),
                    self._patience,
                    stopping=self._process.stopping,
                )
            except TransientError:
                # A stop interrupts the wait for the next attempt.
                if not self._process.stopping.is_set():
                    raise
            finally:
                self._leave(number)
            log.debug("slice.left", after=cursor.after)

    def _take(self, number: int) -> LogCursor | None:
        """Wait for a slice and take it. Return None when all slices are done, or at a stop."""
        with self._changed:
            self._idle += 1
            try:
                while not self._process.stopping.is_set():
                    if self._waiting:
                        cursor = self._waiting.popleft()
                        self._at_work[number] = Slice(cursor=cursor, after=cursor.after)
                        return cursor
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
        """Yield the pages of this worker's slice, whose end moves down when it is cut.

        The cursor is read from the ledger first. After a transient error the ledger may have
        settled a page whose answer was lost.
        """
        own = self._at_work[number]
        cursor = self._ledger.current(own.cursor)
        while cursor is not None and not cursor.is_done:
            with self._changed:
                own.cursor = cursor
            cursor = None
            for forwarded in walk(own.cursor):
                report(forwarded)
                self._count(own, forwarded)
                yield forwarded
                if self._process.stopping.is_set():
                    return
                if forwarded.settlement.page.is_end and not forwarded.cursor.is_done:
                    # The log ends below the end of the slice, and the answer is too young to prove
                    # that nothing will come between.
                    return
                cursor = self._share(own)
                if cursor is not None:
                    break

    def _count(self, own: Slice, forwarded: Forwarded) -> None:
        with self._changed:
            own.move(forwarded)
            self.count.add(forwarded.settlement)
            self.lost += forwarded.settlement.page.lost is not None

    def _share(self, own: Slice) -> LogCursor | None:
        """Hand the second half of this slice to an idle worker, if there is one.

        Return the first half, or None if nothing was cut.
        """
        with self._changed:
            if self._idle <= len(self._waiting) or own.pages_left < CUT_MINIMUM_PAGES:
                return None
            if own.pages_left < max(each.pages_left for each in self._at_work.values()):
                return None
            middle = own.middle()
            if middle is None:
                return None
            first, second = self._ledger.cut(own.cursor, middle)
            self._waiting.append(second)
            self._changed.notify_all()
            return first

    def _log_progress(self) -> None:
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
