"""Threads and a tenant in simulated time.

The threads of a simulation are real ones, and run the program's own code. One of them runs at a
time. When it waits, the thread runs next whose wait ends first, and the clock is moved to that
moment. So a simulation has the same result on every machine, however slow the machine is.
"""

import heapq
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

PATIENCE_S = 120.0
"""The longest time in which a thread must come to its next wait, on a very slow machine."""


@dataclass(kw_only=True)
class Tenant:
    """A token bucket, served in the order in which requests arrive."""

    limit: int
    per_second: float
    held: float
    at: float = 0.0
    least: float = math.inf
    """The smallest number of tokens that one of our requests left."""

    def fill(self, now: float) -> None:
        self.held = min(self.limit, self.held + (now - self.at) * self.per_second)
        self.at = now

    def serve(self, now: float) -> tuple[bool, int, float]:
        """Serve a request. Return if it passed, the tokens left, and the seconds to the reset.

        The numbers are rounded as the API rounds them.
        """
        self.fill(now)
        passes = self.held >= 1
        if passes:
            self.held -= 1
            self.least = min(self.least, self.held)
        missing = max(1 - self.held % 1, 0.0) / self.per_second
        return passes, int(self.held), math.ceil(now + missing) - math.floor(now)


@dataclass(kw_only=True)
class _Wait:
    """A thread that waits for its turn."""

    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    is_over: bool = False


class SimulatedTime:
    """The clock, and the threads that wait for their turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waits: list[tuple[float, int, _Wait]] = []
        self._number = count()
        self._back = threading.Semaphore(0)
        self._errors: list[BaseException] = []

    def monotonic(self) -> float:
        return self.now

    def threading(self) -> SimpleNamespace:
        """Return what replaces the module `threading` in a module of the program."""
        return SimpleNamespace(
            Thread=self._thread,
            Condition=lambda: SimulatedCondition(self),
            Event=threading.Event,
            Lock=threading.Lock,
        )

    def start(self, work: Callable[[], None]) -> None:
        """Begin a thread, which runs when its turn comes."""
        wait = self.plan(self.now)
        threading.Thread(target=self._run, args=(wait, work), daemon=True).start()

    def run(self) -> None:
        """Run all threads until the last one has ended. Raise the first error of a thread."""
        while self._waits:
            at, _, wait = heapq.heappop(self._waits)
            if wait.is_over:
                continue
            wait.is_over = True
            self.now = max(self.now, at)
            wait.turn.release()
            assert self._back.acquire(timeout=PATIENCE_S), "a thread waits in real time"
            if self._errors:
                raise self._errors[0]

    def sleep(self, seconds: float) -> None:
        self.pass_on(self.plan(self.now + seconds))

    def plan(self, at: float) -> _Wait:
        """Plan a turn at this time."""
        wait = _Wait()
        heapq.heappush(self._waits, (at, next(self._number), wait))
        return wait

    def hasten(self, wait: _Wait) -> None:
        """Let a planned turn come now."""
        heapq.heappush(self._waits, (self.now, next(self._number), wait))

    def pass_on(self, wait: _Wait) -> None:
        """Let other threads run until the turn comes."""
        self._back.release()
        wait.turn.acquire()

    def _thread(
        self, *, target: Callable[..., None], args: tuple[Any, ...] = (), name: str, daemon: bool
    ) -> Any:
        del name, daemon
        return SimpleNamespace(start=lambda: self.start(lambda: target(*args)))

    def _run(self, wait: _Wait, work: Callable[[], None]) -> None:
        wait.turn.acquire()
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            self._errors.append(error)
        self._back.release()


class SimulatedEvent(threading.Event):
    """A stop event whose waits take simulated time. Setting it ends no wait early."""

    def __init__(self, time: SimulatedTime) -> None:
        super().__init__()
        self._time = time

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if not self.is_set():
            self._time.sleep(timeout)
        return self.is_set()


class SimulatedCondition:
    """A condition whose waits take simulated time."""

    def __init__(self, time: SimulatedTime) -> None:
        self._time = time
        self._lock = threading.RLock()
        self._waiting: list[_Wait] = []

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait(self, timeout: float) -> None:
        wait = self._time.plan(self._time.now + timeout)
        self._waiting.append(wait)
        self._lock.release()
        self._time.pass_on(wait)
        self._lock.acquire()

    def notify_all(self) -> None:
        for wait in self._waiting:
            self._time.hasten(wait)
        self._waiting.clear()
