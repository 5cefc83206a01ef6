"""Threads that walk slices, each one its own, until all of them are done."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from poller.core.errors import TakenOverError, TransientError
from poller.core.spans import LogCursor, is_of_catch_up
from poller.service.lifecycle.cycles import CycleCount
from poller.service.lifecycle.one_shot import drain
from poller.service.lifecycle.process import Failed, Finished, Process, Reason
from poller.service.slices.deferred_identify import Identified, IdentifyRunner
from poller.service.slices.queue import SliceLedger, SliceProgress, SliceQueue, Walk
from poller.service.slices.slice import Slice
from poller.service.upstream.retry import LONG_PATIENCE

PROGRESS_INTERVAL_TICKS = 30

log = structlog.get_logger()


class SliceWorkers:
    """Walks slices in threads, as a job that has an end.

    When all slices are done, the same threads send the pending identifies. `walker` makes the walk
    of one thread. No slice is cut while `is_rate_limited`. The first slice that cannot go on for
    `patience` ends the job.
    """

    def __init__(
        self,
        walker: Callable[[], Walk],
        ledger: SliceLedger,
        process: Process,
        *,
        parallel: int,
        identifies: IdentifyRunner | None = None,
        is_rate_limited: Callable[[], bool] = lambda: False,
        patience: timedelta = LONG_PATIENCE,
    ) -> None:
        self._walker = walker
        self._process = process
        self._parallel = parallel
        self._identifies = identifies
        self._patience = patience
        self._queue = SliceQueue(ledger, process.stopping, is_rate_limited=is_rate_limited)
        self._lock = threading.Lock()
        self._workers_left = parallel
        self._ticks = 0
        self.unproved = 0
        """The slices whose end no answer could prove to be reached."""

    @property
    def count(self) -> CycleCount:
        return self._queue.count

    @property
    def lost(self) -> int:
        """The parts of the log that retention removed before they were read."""
        return self._queue.lost

    @property
    def progress(self) -> SliceProgress:
        return replace(
            self._queue.progress,
            identified=self._identifies.done if self._identifies else Identified(),
            is_identifying=self._identifies is not None and self._identifies.is_begun,
        )

    def run(
        self, cursors: Sequence[LogCursor], on_tick: Callable[[], None] | None = None
    ) -> Reason:
        """Walk them all. End early after a signal, or when one slice cannot go on."""
        self.begin(cursors, self._process.end)
        return self._process.wait(on_tick or self._log_progress)

    def begin(self, cursors: Sequence[LogCursor], end: Callable[[Reason], None]) -> None:
        """Begin to walk them all. `end` is called when all is done, and at the first failure."""
        self._queue.add(cursors)
        for number in range(self._parallel):
            threading.Thread(
                target=self._work, args=(end,), name=f"slice-{number}", daemon=True
            ).start()

    def _work(self, end: Callable[[Reason], None]) -> None:
        reason: Reason | None = None
        with self._process.working():
            try:
                self._walk_all()
                if self._identifies is not None:
                    self._identifies.work()
            except BaseException as error:  # noqa: BLE001 - the main thread raises it again
                reason = Failed(error)
        with self._lock:
            self._workers_left -= 1
            if self._workers_left == 0 and reason is None:
                reason = Finished()
        if reason is not None:
            end(reason)

    def _walk_all(self) -> None:
        walk = self._walker()
        while (own := self._queue.take()) is not None:
            try:
                self._walk(walk, own)
            finally:
                self._queue.leave(own)
            with self._lock:
                self.unproved += not own.is_finished and not self._process.stopping.is_set()
            log.debug("slice.left", after=own.after)

    def _walk(self, walk: Walk, own: Slice) -> None:
        stopping = self._process.stopping
        try:
            drain(lambda: self._queue.pages(walk, own), self._patience, stopping=stopping)
        except TakenOverError as error:
            if not is_of_catch_up(own.cursor):
                raise
            log.warning("slice.left_to_daemon", code=error.code, reason=str(error))
        except TransientError:
            # A stop interrupts the wait for the next attempt.
            if not stopping.is_set():
                raise

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
