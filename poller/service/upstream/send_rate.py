"""A limit on the messages that are sent in a second."""

import threading
import time
from collections.abc import Callable

from poller.core.errors import TransientError
from poller.core.messages import Batch, Message, Receipt
from poller.core.ports import MessageSink


class ThrottledSink:
    """A MessageSink that sends at most `per_second` messages a second. Thread-safe.

    All threads that send share the limit. Zero means no limit. A batch goes out whole, and the next
    batch waits for the time that its messages take at this rate. So the rate holds on average.
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

    def encode(self, message: Message) -> bytes:
        return self._sink.encode(message)

    def send(self, batch: Batch) -> Receipt:
        """Wait until this batch may go out, then send it.

        Raises:
            TransientError: the program is told to stop, or the port's own reasons.
            RejectedError, FatalError: for the port's own reasons.
        """
        self.wait(len(batch.messages))
        return self._sink.send(batch)

    def wait(self, count: int) -> None:
        """Block until this number of messages may go out.

        Raises:
            TransientError: the program is told to stop.
        """
        wait_s = self._reserve(count)
        if wait_s > 0 and self._stopping.wait(wait_s):
            raise TransientError("stopped while waiting to send")

    def _reserve(self, count: int) -> float:
        """Reserve the next free time for these messages. Return the seconds until it begins."""
        if not self._per_second:
            return 0.0
        with self._lock:
            now = self._monotonic()
            begins_at = max(now, self._free_at)
            self._free_at = begins_at + count / self._per_second
            return begins_at - now
