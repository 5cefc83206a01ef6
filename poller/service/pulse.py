"""Whether the loop turns: it says for how long it may be silent, and whoever looks finds it in time or late."""

import time
from collections.abc import Callable

SILENCE_S = 120.0
"""How long one step may take. A call ends within 30 s, but for its name resolution, which no deadline ends (glibc: 5 s,
twice, for each of three servers, perhaps for IPv4 and IPv6 in turn); a wait for the rate limit ends within 60 s."""


class Pulse:
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
