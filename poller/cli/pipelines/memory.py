"""The memory of a process of many pipelines, given back to the system where the C library can."""

import ctypes
import time
from collections.abc import Callable
from contextlib import suppress

_M_ARENA_MAX = -8  # mallopt(3)
_ARENAS = 2
"""The areas that threads allocate from. Each of them keeps what is free in it for itself."""
_PAUSE_S = 60.0


class Memory:
    """Gives back what is free, about once a minute. Opening a ledger takes much for a moment."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._due_at = monotonic() + _PAUSE_S
        # A C library other than glibc has no such functions.
        with suppress(Exception):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)

    def trim_if_due(self) -> None:
        """Give back what is free, if it is time."""
        if self._monotonic() < self._due_at:
            return
        self._due_at = self._monotonic() + _PAUSE_S
        with suppress(Exception):
            ctypes.CDLL(None).malloc_trim(0)
