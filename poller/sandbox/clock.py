"""The sandbox's clock: the host's, moved forth and back at will."""

import threading
from datetime import UTC, datetime, timedelta


class Clock:
    """What both simulated services take for the time. Thread-safe."""

    def __init__(self) -> None:
        self._offset = timedelta()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            return datetime.now(UTC) + self._offset

    def advance(self, by: timedelta) -> None:
        """Moves the time of both services, forth or, if negative, back; the poller's host keeps its own."""
        with self._lock:
            self._offset += by
