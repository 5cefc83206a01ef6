"""The clock of the sandbox, which is the host's clock moved at will."""

import threading
from datetime import UTC, datetime, timedelta


class Clock:
    """The time of all simulated services. Thread-safe."""

    def __init__(self) -> None:
        self._offset = timedelta()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            return datetime.now(UTC) + self._offset

    def advance(self, by: timedelta) -> None:
        """Move the time of the services. A negative duration moves it back.

        The time of the host on which the poller runs does not change.
        """
        with self._lock:
            self._offset += by
