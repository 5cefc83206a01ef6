"""A stop event in simulated time."""

import threading


class Stopping(threading.Event):
    """An event whose waits move a clock instead of taking time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now += timeout
        return self.is_set()
