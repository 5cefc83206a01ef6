"""The heartbeat of the working thread, by which systemd and health checks see a loop that hangs.

A process can be alive while its loop hangs, as on a lock or in a system call without an end. A
separate thread that reports "alive" every second would hide this. So the working thread itself
promises to be heard of again: each step promises the next one within SILENCE_S. Anybody may look
whether the promise is kept.

An outage does not break the promise. Each attempt is a short step, and each wait between attempts
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
    """The promise of the working thread to be heard of again.

    Nothing is promised before the first beat. One thread beats, and any thread may look.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._due_at = float("inf")

    def beat(self) -> None:
        """Say that a step begins or is done."""
        self.rest(0.0)

    def rest(self, seconds: float) -> None:
        """Say that nothing is to be done for this time. After it the next step must begin."""
        self._due_at = self._monotonic() + seconds + SILENCE_S

    @property
    def is_alive(self) -> bool:
        """Say if the promise is kept so far."""
        return self._monotonic() <= self._due_at


class StopEvent(threading.Event):
    """A stop event whose `wait` also tells the heartbeat that the loop is alive.

    Only the working thread may wait for it.
    """

    def __init__(self, heartbeat: Heartbeat) -> None:
        super().__init__()
        self._heartbeat = heartbeat

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the stop, as one rest of the heartbeat."""
        self._heartbeat.rest(timeout or 0.0)
        try:
            return super().wait(timeout)
        finally:
            self._heartbeat.beat()
