"""A limit on the messages that are sent in a second.

Live polling and the work on a backlog share the limit, and live polling goes first. So there are
two times at which the line is free:

- The line is free for *live* messages when the live messages before them have had their time.
- The line is free for messages *in the background* when all messages before them have had their
  time.

A live batch therefore never waits for the background, however much the background has sent. The
background pays for it later, so that the rate holds on average. If nothing live is sent, the
background has the whole rate.
"""

import threading
import time
from collections.abc import Callable

from poller.core.errors import TransientError
from poller.core.messages import Batch, Message, Receipt
from poller.core.ports import MessageSink


class SendRate:
    """At most `per_second` messages a second over all senders. Thread-safe. Zero means no limit.

    A batch goes out whole, and the next batch waits for the time that its messages take at this
    rate. So the rate holds on average. Above it go at most one batch of each kind.
    """

    def __init__(
        self,
        stopping: threading.Event,
        *,
        per_second: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stopping = stopping
        self._per_second = per_second
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._live_free_at = float("-inf")
        self._free_at = float("-inf")

    def wait(self, count: int) -> None:
        """Block until this number of live messages may go out.

        Raises:
            TransientError: the program is told to stop.
        """
        _wait(self._stopping, self._reserve(count))

    def wait_in_background(self, count: int, stopping: threading.Event) -> None:
        """Block until this number of messages may go out without delay to live messages.

        Raises:
            TransientError: `stopping` is set.
        """
        while (wait_s := self._take_in_background(count)) > 0:
            _wait(stopping, wait_s)

    def _reserve(self, count: int) -> float:
        """Reserve the next time that is free for live messages. Return the seconds until then."""
        if not self._per_second:
            return 0.0
        with self._lock:
            now, takes_s = self._monotonic(), count / self._per_second
            begins_at = max(now, self._live_free_at)
            self._live_free_at = begins_at + takes_s
            self._free_at = max(now, self._free_at) + takes_s
            return begins_at - now

    def _take_in_background(self, count: int) -> float:
        """Take the line and return 0, or return the seconds after which to ask again."""
        if not self._per_second:
            return 0.0
        with self._lock:
            now = self._monotonic()
            if self._free_at > now:
                return self._free_at - now
            self._free_at = now + count / self._per_second
            return 0.0


class ThrottledSink:
    """A MessageSink that sends each batch when `wait` lets its messages through. Thread-safe."""

    def __init__(self, sink: MessageSink, wait: Callable[[int], None]) -> None:
        self._sink = sink
        self.wait = wait

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


def _wait(stopping: threading.Event, seconds: float) -> None:
    if seconds > 0 and stopping.wait(seconds):
        raise TransientError("stopped while waiting to send")
