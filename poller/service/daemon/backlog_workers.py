"""Threads that walk the slices of catch-ups beside live polling, for as long as the daemon runs.

Live polling does not depend on them. A slice that fails postpones itself. An error that needs
somebody to act pauses all slices, and the live loop tells of it and lets them try again, as it does
for itself. A stop ends the work between two pages. The next start goes on with what is left.
"""

import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from poller.core.errors import FatalError, PollerError, TakenOverError, TransientError
from poller.core.log_ids import moment_of
from poller.core.spans import LogCursor
from poller.service.daemon.backlog_threads import BacklogThreads, Claim, Place
from poller.service.daemon.catch_up import BacklogLedger
from poller.service.daemon.helped_slices import HelpedSlices, Helpers
from poller.service.lifecycle.backlog import NO_BACKLOG, Backlog
from poller.service.lifecycle.process import Failed, Work
from poller.service.slices.deferred_identify import Identified, IdentifyRunner
from poller.service.slices.queue import SliceQueue, Walk
from poller.service.slices.slice import Key, Slice
from poller.service.upstream.retry import Backoff
from poller.service.upstream.threads import start_thread

PROGRESS_INTERVAL_S = 60.0
_IDENTIFIES = (object, 0)  # the key of their backoff, beside the keys of the slices
_END_UNPROVED_S = 30.0
"""The delay of a slice whose end no answer could prove to be reached."""
_HELPED_S = 5.0
"""The time after which to look at a slice again that a helper walks, maybe for an earlier owner."""

log = structlog.get_logger()


class BacklogWorkers:
    """The work on the backlog. Thread-safe.

    `walker` makes the walk of one thread. `identifies` makes a runner for the identifies at the
    end. `parallel` tells how many threads are of use. The pipelines of a process share `threads`.
    `helpers` walk slices in other processes. No slice is cut while `is_rate_limited`.
    """

    def __init__(  # noqa: PLR0913 - the work, where it is recorded, and how much at once
        self,
        walker: Callable[[], Walk],
        ledger: BacklogLedger,
        process: Work,
        identifies: Callable[[], IdentifyRunner],
        *,
        parallel: Callable[[], int],
        threads: BacklogThreads | None = None,
        helpers: Helpers | None = None,
        is_rate_limited: Callable[[], bool] = lambda: False,
        backoff: Callable[[], Backoff] = Backoff,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._walker = walker
        self._ledger = ledger
        self._process = process
        self._identifies = identifies
        self._parallel = parallel
        self._places = threads or BacklogThreads()
        self._claim = Claim(self._start_thread)
        self._backoff = backoff
        self._monotonic = monotonic
        self._queue = SliceQueue(
            ledger, process.stopping, is_rate_limited=is_rate_limited, monotonic=monotonic
        )
        self._helped = HelpedSlices(self._queue, process, helpers) if helpers else None
        # The lock guards everything below it.
        self._lock = threading.Lock()
        self._backoffs: dict[Key, Backoff] = {}
        self._threads = 0
        self._context = contextvars.Context()
        self._since: datetime | None = None
        self._runner: IdentifyRunner | None = None
        self._postponed: str | None = None
        self._blocked: FatalError | None = None
        self._reported_at = monotonic()

    # What the live loop asks

    @property
    def state(self) -> Backlog:
        """Return the facts about the backlog at this moment."""
        now = self._queue.progress
        with self._lock:
            if self._since is None:
                return NO_BACKLOG
            return Backlog(
                since=self._since,
                slices_left=now.waiting + len(now.slices),
                time_left=now.time_left,
                pages_left=now.pages_left,
                oldest=moment_of(now.lowest) if now.lowest else None,
                postponed=str(self._blocked) if self._blocked else self._postponed,
            )

    @property
    def blocked(self) -> FatalError | None:
        """Return the error that somebody must act on, until a page of the backlog is settled."""
        return self._blocked

    def look_for_work(self, now: datetime | None = None) -> None:
        """Walk the slices that the ledger holds and no thread has.

        Call it in each cycle, and after the beginning of a catch-up with the server's time.
        Identifies may be left even if no slice is.

        Raises:
            TransientError, FatalError: the ledger cannot be read, or no thread can be started.
        """
        spans, noted = self._ledger.backlog(), self._ledger.catch_up_since()
        if not spans and noted is None:
            return
        with self._lock:
            is_new = self._since is None
            self._since = self._since or noted or now or _end_of(spans)
            if self._queue.add_missing(spans):
                # The identifies of these slices are not in sight of a runner that has begun.
                self._runner = None
        if is_new:
            self._note()
        self._start_threads()

    def pause(self) -> None:
        """Let no slice go on, because live polling is blocked."""
        self._queue.pause()

    def resume(self) -> None:
        """Let the slices go on, or try again if they were blocked."""
        self._queue.resume()

    # What the threads do

    def _start_threads(self) -> None:
        with self._lock:
            is_over = self._since is None or self._process.stopping.is_set()
            self._context = contextvars.copy_context()
        if not is_over:
            self._places.ask(self._claim, self._parallel())
            if self._helped and not self._queue.is_empty:
                self._helped.ask()

    def _start_thread(self) -> None:
        """Start a thread, maybe from a thread of another pipeline, which has given up its place.

        Raises:
            TransientError: the pipeline ends, or this machine has no room for one more thread.
        """
        with self._lock:
            if self._process.stopping.is_set():
                raise TransientError("the pipeline ends")
            self._context.copy().run(start_thread, self._work, "backlog")
            self._threads += 1

    def _work(self) -> None:
        with self._process.working(), self._places.place(self._claim) as place:
            try:
                walk = self._walker()
                while True:
                    self._walk_slices(walk, place)
                    self._identify(place)
                    if self._is_over(place):
                        return
            except BaseException as error:  # noqa: BLE001 - the main thread raises it again
                self._process.end(Failed(error))

    def _walk_slices(self, walk: Walk, place: Place) -> None:
        while not place.is_given_up and (own := self._queue.take(place.gives_way)) is not None:
            self._walk(walk, own, place)

    def _walk(self, walk: Walk, own: Slice, place: Place) -> None:
        delay_s = _END_UNPROVED_S
        try:
            for _ in self._queue.pages(walk, own):
                self._note_success(own.key)
                if place.gives_way():
                    break
        except TakenOverError:
            if self._helped is None:
                raise
            delay_s = _HELPED_S
        except FatalError as error:
            self._block(error)
            delay_s = 0.0
        except TransientError as error:
            delay_s = self._postpone(own.key, error)
        if own.is_finished:
            self._queue.leave(own)
        else:
            self._queue.put_back(own, after_s=0.0 if place.is_given_up else delay_s)

    def _identify(self, place: Place) -> None:
        """Send the pending identifies, once no slice is left. All threads share a runner."""
        while not place.is_given_up and (runner := self._current_runner()) is not None:
            try:
                runner.work(place.gives_way)
            except FatalError as error:
                self._block(error)
                self._queue.wait_while_paused(place.gives_way)
            except TransientError as error:
                self._process.stopping.wait(self._postpone(_IDENTIFIES, error))
            else:
                if runner.done != Identified():  # a thread that found nothing to do proves nothing
                    self._note_success(_IDENTIFIES)
                return
            with self._lock:
                # The batch that failed was taken from the runner. A new one begins with it.
                self._runner = None if self._runner is runner else self._runner

    def _current_runner(self) -> IdentifyRunner | None:
        """Return the runner that all threads share, or None at a stop and while slices are left."""
        with self._lock:
            if self._process.stopping.is_set() or not self._queue.is_empty:
                return None
            if self._runner is None:
                self._runner = self._identifies()
            return self._runner

    def _is_over(self, place: Place) -> bool:
        """Return whether this thread ends. The last one of all ends the catch-up."""
        with self._lock:
            is_stopped = self._process.stopping.is_set() or place.is_given_up
            has_worked = self._runner is not None
            if not is_stopped and not (has_worked and self._queue.is_empty):
                return False
            self._threads -= 1
            if self._threads or is_stopped:
                return True
            self._since = self._runner = self._postponed = self._blocked = None
            self._backoffs.clear()
        self._note()
        log.info("catch_up.finished", lost=self._queue.lost, **self._queue.count.facts())
        return True

    # What happens on the way

    def _note_success(self, key: Key) -> None:
        with self._lock:
            self._backoffs.pop(key, None)
            was_in_trouble = self._postponed is not None or self._blocked is not None
            self._postponed = self._blocked = None
            is_due = self._monotonic() - self._reported_at >= PROGRESS_INTERVAL_S
            if is_due:
                self._reported_at = self._monotonic()
        if was_in_trouble:
            self._note()
        if is_due:
            log.info("catch_up.progressed", **self.state.facts(), **self._queue.count.facts())

    def _block(self, error: FatalError) -> None:
        """Pause all slices. The live loop tells of the error, and resumes them."""
        self._queue.pause()
        with self._lock:
            self._blocked = error

    def _postpone(self, key: Key, error: TransientError) -> float:
        """Return the seconds until the next attempt at a slice, or 0 if it is blocked now."""
        if self._process.stopping.is_set():
            return 0.0
        with self._lock:
            backoff = self._backoffs.setdefault(key, self._backoff())
            unusable = backoff.fatal_if_repeated(error)
            delay = backoff.delay_after(error)
            is_new = self._postponed != str(error)
            self._postponed = str(error)
        if unusable is not None:
            self._block(unusable)
            return 0.0
        log.warning(
            "catch_up.postponed", reason=str(error), retry_in_s=round(delay.total_seconds(), 1)
        )
        if is_new:
            self._note()
        return delay / timedelta(seconds=1)

    def _note(self) -> None:
        """Leave a note for `status`. Work goes on without it."""
        state = self.state
        try:
            self._ledger.note_catch_up(since=state.since, error=state.postponed)
        except PollerError as error:
            log.warning("daemon_status.failed", reason=str(error))


def _end_of(spans: Sequence[LogCursor]) -> datetime:
    """Return the time at which the highest slice ends. The catch-up began a little later."""
    moments = [moment_of(span.until) for span in spans if span.until]
    return max(filter(None, moments), default=None) or datetime.now(UTC)
