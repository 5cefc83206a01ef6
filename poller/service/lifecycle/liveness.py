"""The heartbeat of the working threads, by which systemd and health checks see a loop that hangs.

A process can be alive while its loop hangs, for example on a lock or in an endless system call. A
separate thread that reports "alive" every second would hide this. So the working threads themselves
give signs of life: after each step of a thread, its next one must come within SILENCE_S. Any thread
may check whether it came in time.

An outage does not look like a hang. Each attempt is a short step, and each wait between attempts
is announced with its length.
"""

import threading
import time
from collections.abc import Callable

SILENCE_S = 120.0
"""The longest time that one step may take.

A call ends within 30 s. Its name resolution has no deadline of ours: glibc waits 5 s, twice, for
each of three servers, and perhaps for IPv4 and IPv6 in turn, which makes 60 s.
"""


class Heartbeat:
    """The promise of the working threads to be heard of again. Thread-safe.

    Nothing is promised before the first beat. The loop is alive while one of its threads keeps its
    promise, so that a beat of one thread does not cut the rest of another short.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        caller: Callable[[], int] = threading.get_ident,
    ) -> None:
        self._monotonic = monotonic
        self._caller = caller
        self._lock = threading.Lock()
        self._due_at: dict[int, float] = {}

    def beat(self) -> None:
        """Say that a step begins or is done."""
        self.rest(0.0)

    def rest(self, seconds: float) -> None:
        """Say that this thread does nothing for this time. After it the next step must begin."""
        with self._lock:
            self._due_at[self._caller()] = self._monotonic() + seconds + SILENCE_S

    @property
    def is_alive(self) -> bool:
        """Say if the promise is kept so far."""
        with self._lock:
            return self._monotonic() <= max(self._due_at.values(), default=float("inf"))


class StopEvent(threading.Event):
    """A view of a stop event whose `wait` also tells the heartbeat that the loop is alive.

    Only threads that work for the loop may wait for it. Other threads wait for the event itself, so
    that they never hide a loop that hangs.
    """

    def __init__(self, stopping: threading.Event, heartbeat: Heartbeat) -> None:
        super().__init__()
        self._stopping = stopping
        self._heartbeat = heartbeat

    def is_set(self) -> bool:
        return self._stopping.is_set()

    def set(self) -> None:
        self._stopping.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the stop, and announce the wait to the heartbeat."""
        self._heartbeat.rest(timeout or 0.0)
        try:
            return self._stopping.wait(timeout)
        finally:
            self._heartbeat.beat()
