"""The main thread: waits on one queue of reasons to stop, and gives the page at hand its time."""

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
"""What the page at hand gets to finish and settle; abandoned, it is sent again under the same ids."""
TICK_S = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Signalled:
    """SIGTERM, SIGINT or SIGHUP."""

    number: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The work is done."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The work cannot go on."""

    error: BaseException


Reason = Signalled | Finished | Failed


class Process:
    """Why to stop, told by whoever knows, and whether work is under way."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._reasons: queue.SimpleQueue[Reason] = (
            queue.SimpleQueue()
        )  # its put is safe inside a signal handler
        self._working = 0
        self._changed = threading.Condition()

    def end(self, reason: Reason) -> None:
        self._reasons.put(reason)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around work that must not be cut off without need; may be entered more than once, by any thread."""
        with self._changed:
            self._working += 1
        try:
            yield
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    @property
    def is_idle(self) -> bool:
        return self._working == 0

    def wait(self, on_tick: Callable[[], None] = lambda: None) -> Reason:
        """The first reason to stop; `on_tick` runs about every second meanwhile. Main thread only."""
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
        """Waits for the work under way; False if it had to be abandoned."""
        with self._signals(), self._changed:
            return self._changed.wait_for(lambda: self._working == 0, grace_s)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        # Whoever started us may have had a signal ignored, as nohup does with SIGHUP. It stays ignored.
        heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._on_signal) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.stopping.is_set() or not self._reasons.empty():
            os._exit(ExitCode.INTERRUPTED)  # the second one: at once
        self.end(Signalled(number))
