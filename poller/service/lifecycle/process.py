"""The end of a process: the main thread waits for a reason to stop, and lets work finish.

The main thread only waits, because Python runs signal handlers in it. A signal handler may do very
little. Ours puts a reason into a queue, and the main thread waits on the queue.
"""

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from poller.service.lifecycle.exit_codes import ExitCode

GRACE_S = 8.0
"""The time for the page at hand to be sent and settled.

A page that needs longer is abandoned. The next start sends it again under the same message ids.
"""
TICK_S = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Signalled:
    """A SIGTERM, SIGINT or SIGHUP came."""

    number: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The work is done."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The work cannot go on."""

    error: BaseException


Reason = Signalled | Finished | Failed
"""A reason to stop."""


class Process:
    """The reasons to stop, and the work that is under way. Thread-safe.

    Long loops look at `stopping`, which is set once there is a reason. A second signal calls
    `abandon`, which ends the process at once, in the middle of whatever it does.
    """

    def __init__(
        self,
        stopping: threading.Event | None = None,
        *,
        abandon: Callable[[], None] = lambda: os._exit(ExitCode.INTERRUPTED),
    ) -> None:
        self.stopping = stopping or threading.Event()
        self._abandon = abandon
        # A SimpleQueue, because its `put` is safe inside a signal handler.
        self._reasons: queue.SimpleQueue[Reason] = queue.SimpleQueue()
        self._working = 0
        self._changed = threading.Condition()

    def end(self, reason: Reason) -> None:
        """Give a reason to stop. Only the first one counts."""
        self._reasons.put(reason)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Mark work that should finish before the process ends. Any number of threads may do so."""
        with self._changed:
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def wait(self, on_tick: Callable[[], None] = lambda: None) -> Reason:
        """Wait for the first reason to stop, set `stopping`, and return the reason.

        `on_tick` is called about every second meanwhile. Call this in the main thread only.
        """
        with self._signals():
            while True:
                try:
                    reason = self._reasons.get(timeout=TICK_S)
                except queue.Empty:
                    on_tick()
                    continue
                self.stopping.set()
                return reason

    def settle_down(self, grace_s: float = GRACE_S) -> bool:
        """Wait for the work under way, and return False if it did not finish in time."""
        with self._signals(), self._changed:
            return self._changed.wait_for(lambda: self._working == 0, grace_s)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        # A signal that is ignored from the start stays ignored: nohup ignores SIGHUP for a reason.
        handled = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._on_signal) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.stopping.is_set() or not self._reasons.empty():
            self._abandon()
        self.end(Signalled(number))
