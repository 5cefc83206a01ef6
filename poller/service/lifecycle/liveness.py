"""Whether the loop turns: it says for how long it may be silent, and whoever looks finds it in time or late."""

import threading
import time
from collections.abc import Callable

SILENCE_S = 120.0
"""How long one step may take. A call ends within 30 s, but for its name resolution, which no deadline ends (glibc: 5 s,
twice, for each of three servers, perhaps for IPv4 and IPv6 in turn)."""


class Heartbeat:
    """The working thread's promise to be heard of again; before the first one nothing is expected.

    One thread beats, any may look. What keeps the loop waiting (an outage, a long back-off, the rate limit) goes step
    by step or is a rest of known length, and never looks like a loop that hangs.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._due_at = float("inf")

    def beat(self) -> None:
        """A step begins or is done."""
        self.rest(0.0)

    def rest(self, seconds: float) -> None:
        """Nothing is to be done for so long; by then the timer must have come round."""
        self._due_at = self._monotonic() + seconds + SILENCE_S

    @property
    def is_alive(self) -> bool:
        return self._monotonic() <= self._due_at


class StopEvent(threading.Event):
    """The stop of a process for those who wait by it within the loop: each wait is a rest of the heartbeat."""

    def __init__(self, stopping: threading.Event, heartbeat: Heartbeat) -> None:
        super().__init__()
        self._stopping = stopping
        self._pulse = heartbeat

    def is_set(self) -> bool:
        return self._stopping.is_set()

    def set(self) -> None:
        self._stopping.set()

    def wait(self, timeout: float | None = None) -> bool:
        self._pulse.rest(timeout or 0.0)
        try:
            return self._stopping.wait(timeout)
        finally:
            self._pulse.beat()
