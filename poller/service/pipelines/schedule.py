"""The schedule of steps: one timer and a bounded number of threads for any number of pipelines.

The timer is APScheduler's. Two of its habits shape this module:

- It goes by the wall clock, which may be set. So the time of the next step is kept by the monotonic
  clock too. A step that the timer starts too early is put off, and a step that the timer would
  start too late is started by the main thread.
- It swallows what a job raises. So a step must not raise.

There are two groups of threads. A step that waits for a dead service holds its thread for as long
as a call may take. So pipelines in trouble have threads of their own, and hold up no others.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from poller.service.lifecycle.liveness import Heartbeat

Lane = Literal["default", "trouble"]
MOST_THREADS: dict[Lane, int] = {"default": 24, "trouble": 8}
"""The threads of each group. A thread is started when it is needed first."""
_TIMER_TOLERANCE_S = 2.0
"""The largest difference between the times at which a step is due and at which it begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The time until the next step, and the group of threads that the next step belongs to."""

    length: timedelta
    lane: Lane = "default"


Step = Callable[[], Pause | None]
"""Does one step. None means that it was the last one. It must not raise."""


@dataclass(slots=True)
class _Entry:
    """The next step of one name. `is_running` keeps two threads from doing one step."""

    step: Step
    due_at: float
    lane: Lane = "default"
    is_running: bool = False
    is_woken: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class Schedule:
    """Does the steps of each name one after the other, with a pause in between. Thread-safe."""

    def __init__(
        self, heartbeat: Heartbeat, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._heartbeat = heartbeat
        self._monotonic = monotonic
        self._entries: dict[str, _Entry] = {}
        self._is_over = threading.Event()
        self._scheduler = BackgroundScheduler(
            executors={lane: ThreadPoolExecutor(most) for lane, most in MOST_THREADS.items()},
            timezone=UTC,
        )

    def start(self) -> None:
        """Begin with the steps that are due."""
        self._heartbeat.beat()
        self._scheduler.start()

    def stop(self) -> None:
        """Begin no other step. A step may still be under way."""
        self._is_over.set()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def add(self, name: str, step: Step, after: timedelta = timedelta()) -> None:
        """Do a step of this name after a time, and then whenever the step before says so."""
        due_at = self._monotonic() + after.total_seconds()
        self._entries[name] = _Entry(step, due_at)
        self._plan(name, after)

    def wake(self, name: str) -> None:
        """Do the next step now, or as soon as the step under way is done."""
        entry = self._entries.get(name)
        if entry is None:
            return
        with entry.lock:
            entry.is_woken = True
            entry.due_at = self._monotonic()
        self._plan(name, timedelta())

    def nudge(self) -> None:
        """Start the steps that are overdue, since the wall clock may have been set back."""
        overdue_at = self._monotonic() - _TIMER_TOLERANCE_S
        for name, entry in [*self._entries.items()]:
            if not entry.is_running and entry.due_at < overdue_at:
                self._plan(name, timedelta())

    def _run(self, name: str) -> None:
        """Do the step of this name, unless it is not due yet or under way."""
        entry = self._entries.get(name)
        if entry is None or self._is_over.is_set():
            return
        with entry.lock:
            early_s = entry.due_at - self._monotonic()
            if entry.is_running:
                return
            entry.is_running = early_s <= _TIMER_TOLERANCE_S
            entry.is_woken = False
        if not entry.is_running:  # the wall clock was set forward, or the step is done already
            self._plan(name, timedelta(seconds=early_s))
            return
        self._heartbeat.beat()
        self._go_on(name, entry, entry.step())

    def _go_on(self, name: str, entry: _Entry, pause: Pause | None) -> None:
        """Plan the next step, or forget the name."""
        if pause is None:
            if self._entries.get(name) is entry:
                del self._entries[name]
            return
        with entry.lock:
            length = timedelta() if entry.is_woken else pause.length
            entry.due_at = self._monotonic() + length.total_seconds()
            entry.lane = pause.lane
            entry.is_running = False
        self._heartbeat.rest(length.total_seconds())
        self._plan(name, length)

    def _plan(self, name: str, after: timedelta) -> None:
        """Plan the next step as a job for one moment.

        APScheduler lists every run that an interval job has missed. If a clock is set right by
        years, the list fills the memory. A job for one moment has no such list.
        """
        entry = self._entries.get(name)
        if entry is None or self._is_over.is_set():
            return
        self._scheduler.add_job(
            self._run,
            "date",
            args=(name,),
            run_date=datetime.now(UTC) + after,
            id=name,
            executor=entry.lane,
            replace_existing=True,
            misfire_grace_time=None,  # a late job runs however late it is
            max_instances=2,  # the step that plans the next one has not returned yet
        )
