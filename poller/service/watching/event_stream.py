"""The stream of settled events to commands on this machine: one JSON object on each line.

A connection gets, in this order: `hello`, the events in memory, `live`, and then each event as it
is settled, until `end`. Nothing is read from it.

- `hello` has the `version` of this protocol, and what the events `show`.
- `event` has the fields of a row of the page, and the `message_ids` of its calls.
- `live` says that the events in memory are over.
- `skipped` has the number of `events` that were too many to show.
- `end` has the `reason`: `stopped` if the daemon ends, `slow`, or `full`.
"""

import json
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from poller.service.watching.feed import Feed, SettledEvent
from poller.service.watching.rows import row_of

VERSION = 1
MOST_READERS = 8
MOST_LINES = 100
"""The number of lines that wait for one reader. Whatever comes later stays in the feed."""
PATIENCE_S = 5.0
"""The time that a reader has to take its last lines."""
_STOP_S = 2.0
_ACCEPT_AGAIN_S = 1.0


class _Reader:
    """A connection, the number of the last event that it was given, and the lines that wait."""

    def __init__(self, connection: socket.socket, position: int, memory_end: int) -> None:
        self.connection = connection
        self.position = position
        self.memory_end = memory_end
        self.is_live = False
        self.ends_at: float | None = None
        self._lines: deque[bytes] = deque()
        self._sent = 0

    @property
    def is_idle(self) -> bool:
        return not self._lines

    def put(self, kind: str, **facts: Any) -> None:
        self.put_line(encoded(kind, **facts))

    def put_line(self, line: bytes) -> None:
        self._lines.append(line)

    def end(self, reason: str, ends_at: float) -> None:
        """Give up the lines that wait, except for one that was sent in part. Say why."""
        begun = [self._lines[0]] if self._sent else []
        self._lines = deque([*begun, encoded("end", reason=reason)])
        self.ends_at = ends_at

    def send(self) -> None:
        """Send as much as the other end takes now.

        Raises:
            OSError: the other end is gone.
        """
        while self._lines:
            try:
                self._sent += self.connection.send(self._lines[0][self._sent :])
            except BlockingIOError:
                return
            if self._sent == len(self._lines[0]):
                self._lines.popleft()
                self._sent = 0


class EventStream:
    """The stream of one pipeline. `EventStreams` opens it, and calls all but `close` in one thread.

    A reader that does not keep up is dropped. Nothing here waits for a reader, and the daemon waits
    for nothing here. `may_read` says whether a connection is the owner's.
    """

    def __init__(
        self,
        listening: socket.socket,
        feed: Feed,
        *,
        show: str,
        may_read: Callable[[socket.socket], bool],
        wake: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listening = listening
        self._feed = feed
        self._show = show
        self._may_read = may_read
        self._wake = wake
        self._monotonic = monotonic
        self._readers: list[_Reader] = []
        self._selector: selectors.BaseSelector | None = None
        self._ended = threading.Event()
        self.is_ending = False

    def close(self) -> None:
        """Tell every reader that the daemon ends, and close all sockets."""
        self.is_ending = True
        self._wake()
        self._ended.wait(_STOP_S)

    @property
    def has_readers(self) -> bool:
        return bool(self._readers)

    def begin(self, selector: selectors.BaseSelector) -> None:
        """Let the selector watch the sockets of the stream."""
        self._selector = selector
        self._watch(self._listening, None)

    def serve(self, reader: "_Reader | None") -> None:
        """Take a new connection, or drop a reader that has gone."""
        if reader is None:
            self._accept()
        elif _has_gone(reader.connection):
            self._drop(reader)

    def end(self) -> None:
        """Say goodbye to the readers, and close all sockets."""
        for reader in [*self._readers]:
            reader.end("stopped", self._monotonic())
            with suppress(OSError):
                reader.send()
            self._drop(reader)
        self._forget(self._listening)
        self._ended.set()

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is free
            self._ended.wait(_ACCEPT_AGAIN_S)
            return
        connection.setblocking(False)
        if len(self._readers) >= MOST_READERS or not self._may_read(connection):
            self._refuse(connection)
            return
        last = self._feed.last
        reader = _Reader(connection, max(last - self._feed.most, 0), last)
        reader.put("hello", version=VERSION, show=self._show)
        self._readers.append(reader)
        self._watch(connection, reader)

    def _watch(self, watched: socket.socket, reader: _Reader | None) -> None:
        if self._selector is not None:
            self._selector.register(watched, selectors.EVENT_READ, (self, reader))

    def _forget(self, watched: socket.socket) -> None:
        with suppress(KeyError, ValueError):  # it was never watched, or is closed already
            if self._selector is not None:
                self._selector.unregister(watched)
        watched.close()

    def _refuse(self, connection: socket.socket) -> None:
        """Close a connection. The owner gets to know that there are too many."""
        with connection, suppress(OSError):
            if self._may_read(connection):
                connection.send(encoded("end", reason="full"))

    def hand_out(self) -> None:
        """Give each reader what is new, as far as the reader takes it."""
        self._for_each(_Reader.send)
        positions = [each.position for each in self._readers if each.is_idle]
        lowest = min(positions, default=self._feed.last)
        events = self._feed.after(lowest) if lowest < self._feed.last else []
        lines = _Lines(events, self._show)
        self._for_each(lambda reader: self._give(reader, events, lines))

    def _for_each(self, serve: Callable[[_Reader], None]) -> None:
        """Serve each reader, and drop those that are gone."""
        for reader in [*self._readers]:
            try:
                serve(reader)
            except OSError:
                self._drop(reader)

    def _give(self, reader: _Reader, events: Sequence[SettledEvent], lines: "_Lines") -> None:
        """Send lines until there are no more, or until the reader takes no more.

        Raises:
            OSError: the reader is gone.
        """
        while reader.is_idle and reader.ends_at is None and self._fill(reader, events, lines):
            reader.send()
        if reader.ends_at is not None:
            if reader.is_idle or self._monotonic() >= reader.ends_at:
                self._drop(reader)
        elif not reader.is_idle and self._feed.last - reader.position > self._feed.most:
            reader.end("slow", self._monotonic() + PATIENCE_S)

    def _fill(self, reader: _Reader, events: Sequence[SettledEvent], lines: "_Lines") -> bool:
        """Give the reader its next lines, and return whether there are any."""
        self._go_live(reader)
        oldest = events[0].number if events else reader.position + 1
        skipped = oldest - 1 - reader.position
        if skipped > 0:
            reader.put("skipped", events=skipped)
            reader.position += skipped
        begin = reader.position - oldest + 1
        for event in events[begin : begin + MOST_LINES]:
            reader.put_line(lines.of(event))
            reader.position = event.number
            self._go_live(reader)
        return not reader.is_idle

    def _go_live(self, reader: _Reader) -> None:
        if not reader.is_live and reader.position >= reader.memory_end:
            reader.is_live = True
            reader.put("live")

    def _drop(self, reader: _Reader) -> None:
        self._readers.remove(reader)
        self._forget(reader.connection)


class _Lines:
    """The lines of events, each encoded once for all readers."""

    def __init__(self, events: Sequence[SettledEvent], show: str) -> None:
        self._show = show
        self._first = events[0].number if events else 0
        self._lines: list[bytes | None] = [None] * len(events)

    def of(self, event: SettledEvent) -> bytes:
        index = event.number - self._first
        line = self._lines[index]
        if line is None:
            ids = [message.message_id for message in event.messages]
            line = encoded("event", **row_of(event, self._show), message_ids=ids)
            self._lines[index] = line
        return line


def encoded(kind: str, **facts: Any) -> bytes:
    """Return one line of the stream."""
    return json.dumps({"kind": kind, **facts}).encode() + b"\n"


def _has_gone(connection: socket.socket) -> bool:
    """Return whether the other end is gone. A reader sends nothing, so one that does is dropped."""
    try:
        connection.recv(1)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
