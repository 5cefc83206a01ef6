"""The end of a process: the main thread waits for a reason to stop, and lets work finish.

The main thread only waits, because Python runs signal handlers in it. A signal handler may do very
little. Ours puts a reason into a queue, and the main thread waits on the queue.
"""

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType

from poller.service.lifecycle import hang_up
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.hang_up import has_terminal

GRACE_S = 8.0
"""The time for the page at hand to be sent and settled.

A page that needs longer is abandoned. The next start sends it again under the same message ids.
"""
TICK_S = 1.0
_FIRST_OF_A_CONTAINER = 1
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


class Work:
    """Work that is under way, its stop, and its end. Thread-safe.

    Long loops look at `stopping`. `on_end` gets the reasons to stop. Work that is a part of other
    work, as a pipeline is a part of its process, is under way there too.
    """

    def __init__(
        self,
        on_end: Callable[[Reason], None] = lambda reason: None,  # noqa: ARG005 - nobody waits
        *,
        stopping: threading.Event | None = None,
        whole: "Work | None" = None,
    ) -> None:
        self.stopping = stopping or threading.Event()
        self._on_end = on_end
        self._whole = whole
        self._working = 0
        self._changed = threading.Condition()

    def end(self, reason: Reason) -> None:
        """Give a reason to stop. Only the first one counts."""
        self._on_end(reason)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Mark work that should finish before the end. Any number of threads may do so."""
        with self._whole.working() if self._whole else nullcontext():
            with self._changed:
                self._working += 1
            try:
                yield
            finally:
                with self._changed:
                    self._working -= 1
                    self._changed.notify_all()

    def settle_down(self, grace_s: float = GRACE_S) -> bool:
        """Wait for the work under way, and return False if it did not finish in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._working == 0, grace_s)


class Process(Work):
    """The work of a process, and the reasons to stop. Thread-safe.

    `stopping` is set once there is a reason. A second signal calls `abandon`, which ends the
    process at once, in the middle of whatever it does.

    With `on_reload` a SIGHUP is no reason to stop. The main thread calls `on_reload` then. If the
    terminal of the process has hung up, the process stops all the same.
    """

    def __init__(
        self,
        stopping: threading.Event | None = None,
        *,
        abandon: Callable[[], None] = lambda: os._exit(ExitCode.INTERRUPTED),
        on_reload: Callable[[], None] | None = None,
    ) -> None:
        # A SimpleQueue, because its `put` is safe inside a signal handler.
        self._reasons: queue.SimpleQueue[Reason | _Reload] = queue.SimpleQueue()
        super().__init__(self._reasons.put, stopping=stopping)
        self._abandon = abandon
        self.on_reload = on_reload
        self._has_terminal = has_terminal()
        self._is_signalled = False

    def wait(self, on_tick: Callable[[], None] = lambda: None) -> Reason:
        """Wait for the first reason to stop, set `stopping`, and return the reason.

        `on_tick` is called about every second meanwhile. Call this in the main thread only.
        """
        if os.getpid() == _FIRST_OF_A_CONTAINER:
            # Orphans become children of the first process. The kernel reaps what nobody waits for.
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with self.handling_signals():
            while True:
                try:
                    reason = self._reasons.get(timeout=TICK_S)
                except queue.Empty:
                    on_tick()
                    continue
                if isinstance(reason, _Reload):
                    if self.on_reload is not None:
                        self.on_reload()
                    continue
                self.stopping.set()
                return reason

    def settle_down(self, grace_s: float = GRACE_S) -> bool:
        with self.handling_signals():
            return super().settle_down(grace_s)

    @contextmanager
    def handling_signals(self) -> Iterator[None]:
        """Take signals as reasons within this context. Use it in the main thread only."""
        # A signal that is ignored from the start stays ignored: nohup ignores SIGHUP for a reason.
        handled = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._on_signal) for number in handled}
        try:
            if hang_up.take():
                self._on_signal(signal.SIGHUP, None)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGHUP and self.on_reload is not None and not self._has_hung_up():
            self._reasons.put(_Reload())
            return
        if self.stopping.is_set() or self._is_signalled:
            self._abandon()
        self._is_signalled = True
        self.end(Signalled(number))

    def _has_hung_up(self) -> bool:
        """Return whether the terminal, which the process had at its start, is gone.

        The kernel takes the terminal from all processes before it tells them by SIGHUP (tty(4)).
        """
        return self._has_terminal and not has_terminal()


class _Reload:
    """The settings are to be read again."""
