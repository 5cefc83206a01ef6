"""The slices that wait and the slices at work, shared by the workers that walk them.

The slices have equal times, and not equal numbers of events: nights are quiet and mornings are
not. So a worker that finishes takes over the second half of the longest remaining slice. For this
the worker of that slice cuts it, between two pages:

1. A worker without a slice waits, and is counted as idle. So is a helper in another process.
2. After each settled page, a worker looks whether more workers are idle than slices are ready,
   and whether no other slice has more pages left than its own.
3. If so, it cuts its slice in the middle of what is left, by time. It goes on with the first half
   as a new cursor, and puts the second half into the queue, where an idle worker takes it.

No slice is cut while the threads wait for the rate limit of the log. A further thread would then
only wait too, and the cut would cost two requests.

The ledger makes the cut in one transaction that fails if the slice has moved. Only the worker of a
slice moves and cuts it, so the cut never meets a page that is on its way.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from poller.core.forward import Forwarded
from poller.core.log_ids import LogId
from poller.core.ports import AnyCursor
from poller.core.spans import LogCursor
from poller.service.lifecycle.cycles import CycleCount
from poller.service.observability.page_log import report
from poller.service.slices.deferred_identify import Identified
from poller.service.slices.slice import Slice, key_of

CUT_MINIMUM_PAGES = 4.0
"""Pages that must be left for a cut to be worth its cost.

A cut costs about two requests: one page is read by both halves, and the second half needs a proof
that retention removed nothing below it.
"""
_WAIT_S = 0.2
"""A worker without a slice looks at the queue again after this time, to notice a stop."""

Walk = Callable[[LogCursor], Iterator[Forwarded]]
GivesWay = Callable[[], bool]
"""Returns whether the thread that asks is to end, because another one gets its place."""


def _never() -> bool:
    return False


class SliceLedger(Protocol):
    """The part of a ledger that workers need beside `forward`."""

    def begin_work(self, cursor: AnyCursor) -> AnyCursor | None:
        """Take over the cursor, and return it as it is recorded now.

        Return None if its row is deleted.
        """
        ...

    def cut(self, cursor: LogCursor, at: LogId) -> tuple[LogCursor, LogCursor]:
        """End a cursor at `at`, and begin another one with the rest. Return both."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceProgress:
    """The state of the work at one moment.

    `slices` are the slices at work, by log id. `time_left`, `pages_left` and `lowest` hold the
    waiting slices too. `lowest` is the lowest position of a slice.
    """

    slices: tuple[Slice, ...] = ()
    waiting: int = 0
    done: int = 0
    time_left: timedelta = timedelta()
    pages_left: float = 0.0
    lowest: LogId | None = None
    identified: Identified = field(default_factory=Identified)
    is_identifying: bool = False


class SliceQueue:
    """Gives slices to workers, the oldest first, since retention eats from that side. Thread-safe.

    While the queue is paused, no worker begins a page.
    """

    def __init__(
        self,
        ledger: SliceLedger,
        stopping: threading.Event,
        *,
        is_rate_limited: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._stopping = stopping
        self._is_rate_limited = is_rate_limited
        self._monotonic = monotonic
        # The condition guards everything below it.
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, Slice]] = []
        """The slices that no worker has, each with the time from which one may take it."""
        self._at_work: list[Slice] = []
        self._idle = [0, 0]
        """The workers of this process that wait for a slice, and the helpers."""
        self._done = 0
        self._is_paused = False
        self._page_s = 0.0
        """The time that the last page took to walk."""
        self.count = CycleCount()
        self.lost = 0
        """Parts of the log that retention removed before they were read."""

    @property
    def is_empty(self) -> bool:
        """Return whether no slice waits and none is at work."""
        with self._changed:
            return not self._waiting and not self._at_work

    @property
    def progress(self) -> SliceProgress:
        with self._changed:
            at_work = sorted(self._at_work, key=lambda each: each.cursor.reached)
            left = [*at_work, *(each for _, each in self._waiting)]
            return SliceProgress(
                slices=tuple(at_work),
                waiting=len(self._waiting),
                done=self._done,
                time_left=sum((each.time_left for each in left), timedelta()),
                pages_left=_pages_left(left),
                lowest=min((each.cursor.reached for each in left), default=None),
            )

    def add(self, cursors: Iterable[LogCursor]) -> None:
        with self._changed:
            now = self._monotonic()
            self._waiting += [(now, Slice(cursor=each, after=each.after)) for each in cursors]
            self._changed.notify_all()

    def add_missing(self, cursors: Iterable[LogCursor]) -> int:
        """Add the cursors that are neither waiting nor at work. Return how many were added.

        The caller has read them from the ledger before. One that was finished meanwhile is found
        to be finished by the worker that takes it.
        """
        with self._changed:
            held = [*self._at_work, *(each for _, each in self._waiting)]
            known = {each.key for each in held}
            missing = [each for each in cursors if key_of(each) not in known]
            self.add(missing)
            return len(missing)

    def pause(self) -> None:
        """Let each worker put its slice back after the page at hand."""
        with self._changed:
            self._is_paused = True

    def resume(self) -> None:
        with self._changed:
            self._is_paused = False
            self._changed.notify_all()

    def wait_while_paused(self, gives_way: GivesWay = _never) -> None:
        """Wait until the queue is resumed, until the stop, or until the thread is to end."""
        with self._changed:
            while self._is_paused and not self._stopping.is_set() and not gives_way():
                self._changed.wait(_WAIT_S)

    @property
    def share_s(self) -> float:
        """The seconds of work left for each worker, or 0 if nothing tells, or at the rate limit."""
        with self._changed:
            left = [*self._at_work, *(each for _, each in self._waiting)]
            work_s = 0.0 if self._is_rate_limited() else self._page_s * _pages_left(left)
            return work_s / max(len(self._at_work) + sum(self._idle), 1)

    def take(self, gives_way: GivesWay = _never, *, for_helper: bool = False) -> Slice | None:
        """Wait for a slice and take it, for a helper only if no worker of this process waits.

        Return None when all slices are done, at a stop, and when a thread that waits is to end.
        """
        with self._changed:
            self._idle[for_helper] += 1
            try:
                while not self._stopping.is_set() and not (for_helper and gives_way()):
                    ready = self._ready()
                    if len(ready) > for_helper * self._idle[False] and not self._is_paused:
                        return self._begin(min(ready, key=lambda each: each.cursor.reached))
                    if not self._waiting and not self._at_work:
                        self._changed.notify_all()
                        return None
                    if gives_way():
                        return None
                    self._changed.wait(_WAIT_S)
                return None
            finally:
                self._idle[for_helper] -= 1

    def leave(self, own: Slice) -> None:
        """Give up a slice for good, usually because it is finished."""
        with self._changed:
            self._done += 1
            self._drop(own)

    def put_back(self, own: Slice, *, after_s: float = 0.0) -> None:
        """Give a slice back to the queue. It is ready again after this time."""
        with self._changed:
            self._waiting.append((self._monotonic() + after_s, own))
            self._drop(own)

    def pages(self, walk: Walk, own: Slice) -> Iterator[Forwarded]:
        """Yield the pages of a slice, whose end moves down when it is cut.

        The cursor is taken over and read from the ledger first. After a transient error the ledger
        may have settled a page whose answer was lost. At the end of the slice, `own.is_finished`
        is set.

        Raises:
            TakenOverError: a later owner works on the slice.
            TransientError, FatalError: as `forward`.
        """
        cursor = self._ledger.begin_work(own.cursor)
        while cursor is not None and not cursor.is_done:
            with self._changed:
                own.cursor = cursor
            cursor = None
            for forwarded in walk(own.cursor):
                report(forwarded)
                self._count(own, forwarded)
                yield forwarded
                if self._stopping.is_set() or self._is_paused:
                    return
                if forwarded.settlement.page.is_end and not forwarded.cursor.is_done:
                    # The log ends below the end of the slice, and the answer is too young to prove
                    # that nothing will come between.
                    return
                cursor = self._share(own)
                if cursor is not None:
                    break
        own.is_finished = True

    def _ready(self) -> list[Slice]:
        now = self._monotonic()
        return [each for ready_at, each in self._waiting if ready_at <= now]

    def _begin(self, own: Slice) -> Slice:
        self._waiting = [entry for entry in self._waiting if entry[1] is not own]
        self._at_work.append(own)
        own.moved_at = None
        return own

    def _drop(self, own: Slice) -> None:
        self._at_work = [each for each in self._at_work if each is not own]
        self._changed.notify_all()

    def _count(self, own: Slice, forwarded: Forwarded) -> None:
        with self._changed:
            self._page_s = own.move(forwarded, self._monotonic()) or self._page_s
            self.count.add(forwarded.settlement)
            self.lost += forwarded.settlement.page.lost is not None

    def _share(self, own: Slice) -> LogCursor | None:
        """Hand the second half of this slice to an idle worker, if there is one.

        Return the first half, or None if nothing was cut.
        """
        with self._changed:
            if sum(self._idle) <= len(self._ready()) or own.pages_left < CUT_MINIMUM_PAGES:
                return None
            if self._is_rate_limited():
                return None
            # This slice has moved by a page just now. The others may be about to.
            if own.pages_left + 1 < max(each.pages_left for each in self._at_work):
                return None
            middle = own.middle()
            if middle is None:
                return None
            first, second = self._ledger.cut(own.cursor, middle)
            self._waiting.append((self._monotonic(), Slice(cursor=second, after=second.after)))
            self._changed.notify_all()
            return first


def _pages_left(slices: Iterable[Slice]) -> float:
    """Return about how many pages are left, where a slice without a page is like the others."""
    slices = [*slices]
    page_times = [each.page_time for each in slices if each.page_time]
    if not page_times:
        return 0.0
    unknown = sum((each.time_left for each in slices if not each.page_time), timedelta())
    usual = sum(page_times, timedelta()) / len(page_times)
    return sum(each.pages_left for each in slices) + unknown / usual
