"""Keeps to a number of messages a second, over all who send."""

import threading
import time
from collections.abc import Callable

from poller.core.errors import TransientError
from poller.core.messages import Batch, Receipt
from poller.core.ports import MessageSink


class ThrottledSink:
    """A MessageSink that sends at most so many messages a second; thread-safe. 0: as many as there are.

    A batch waits for those that went before it: on average the rate holds, and no batch goes out in parts.
    """

    def __init__(
        self,
        sink: MessageSink,
        stopping: threading.Event,
        *,
        per_second: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._stopping = stopping
        self._per_second = per_second
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._free_at = float("-inf")

    def send(self, batch: Batch) -> Receipt:
        """Waits for its turn, then sends; see the port for what it raises.

        Raises:
            TransientError: also where the program is to stop, so the wait is off.
        """
        self.wait(len(batch.messages))
        return self._sink.send(batch)

    def wait(self, count: int) -> None:
        """Returns when it is the turn of so many messages.

        Raises:
            TransientError: the program is to stop, so the wait is off.
        """
        wait_s = self._reserve(count)
        if wait_s > 0 and self._stopping.wait(wait_s):
            raise TransientError("stopped while waiting to send")

    def _reserve(self, count: int) -> float:
        """The seconds until a batch of so many messages may go out."""
        if not self._per_second:
            return 0.0
        with self._lock:
            now = self._monotonic()
            begins_at = max(now, self._free_at)
            self._free_at = begins_at + count / self._per_second
            return begins_at - now
