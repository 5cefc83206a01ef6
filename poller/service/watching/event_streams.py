"""The thread that serves the streams of events of all pipelines of a process."""

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import structlog

from poller.core.errors import TransientError
from poller.service.watching.event_stream import EventStream
from poller.service.watching.feed import Feed

TICK_S = 0.25
"""The time between two looks at the feeds while somebody reads, in seconds."""

log = structlog.get_logger()


class EventStreams:
    """Opens streams, and serves them in one thread, which ends with the last stream. Thread-safe.

    Without a reader the thread sleeps. An error in one stream ends this stream only.
    """

    def __init__(self) -> None:
        # The lock guards both fields below it.
        self._lock = threading.Lock()
        self._streams: dict[EventStream, bool] = {}
        """The streams that are open, and whether the thread has begun with each."""
        self._bell: socket.socket | None = None
        """Wakes the thread. None as long as there is no thread."""

    def open(self, listening: socket.socket, feed: Feed, **options: Any) -> EventStream:
        """Serve a feed on a socket that listens and never blocks. The stream closes the socket.

        Raises:
            TransientError: this machine has no room for one more thread.
        """
        stream = EventStream(listening, feed, wake=self._ring, **options)
        with self._lock:
            if self._bell is None:
                self._bell = self._start()
            self._streams[stream] = False
        self._ring()
        return stream

    def _start(self) -> socket.socket:
        """Start the thread, and return what wakes it."""
        awake, bell = socket.socketpair()
        for each in (awake, bell):
            each.setblocking(False)
        thread = threading.Thread(target=self._run, args=(awake, bell), name="events", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # Python raises it for EAGAIN here
            awake.close()
            bell.close()
            raise TransientError("this machine cannot start a thread for now") from error
        return bell

    def _ring(self) -> None:
        with self._lock, suppress(OSError):
            if self._bell is not None:
                self._bell.send(b"\0")

    def _run(self, awake: socket.socket, bell: socket.socket) -> None:
        with awake, bell, selectors.DefaultSelector() as selector:
            selector.register(awake, selectors.EVENT_READ)
            while streams := self._open_streams(selector):
                self._turn(streams, selector, awake)

    def _open_streams(self, selector: selectors.BaseSelector) -> list[EventStream]:
        """Return the streams, after those that begin have begun, and those that end have ended."""
        with self._lock:
            begun = self._streams
            ending = [each for each in begun if each.is_ending]
            self._streams = {each: True for each in begun if not each.is_ending}
            if not self._streams:
                self._bell = None  # the next stream starts a thread of its own
            streams = [*self._streams]
        for each in ending:
            _safely(each, each.end)
        for each in streams:
            if not begun[each]:
                _safely(each, partial(each.begin, selector))
        return streams

    def _turn(
        self, streams: list[EventStream], selector: selectors.BaseSelector, awake: socket.socket
    ) -> None:
        is_read = any(each.has_readers for each in streams)
        for key, _ in selector.select(TICK_S if is_read else None):
            if key.fileobj is awake:
                awake.recv(4096)
            else:
                stream, reader = key.data
                _safely(stream, partial(stream.serve, reader))
        for each in streams:
            if each.has_readers:
                _safely(each, each.hand_out)


def _safely(stream: EventStream, step: Callable[[], None]) -> None:
    """Serve a stream. A bug must not hurt the daemon, nor the other streams."""
    try:
        step()
    except Exception as error:  # noqa: BLE001 - see above
        log.warning("tail.ended", error=type(error).__name__)
        stream.is_ending = True
