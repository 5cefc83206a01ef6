"""The connections of the HTTP endpoint, served by one thread.

A thread for each connection would let a client that sends one byte a second hold a thread, and
many such clients exhaust the process. A server that handles one connection after the other would
let one slow client hold up the health check. So one loop serves all connections, and no call in
it waits for a client:

- A selector names the sockets with something to do, and every read and write is non-blocking.
- A connection has a deadline for its request and another one for taking the answer.
- The number of connections and the length of a request are bounded.

The loop is not asyncio, because nothing else in this process would use asyncio.
"""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable

REQUEST_S = 2.0
"""The time for a client to send its whole request. Then its connection is closed."""
ANSWER_S = 5.0
"""The time for a client to take its whole answer. Then its connection is closed."""
MOST_CONNECTIONS = 256
"""The number of open connections. One more closes the oldest.

A client that asks at once has its answer before its connection is the oldest.
"""
MOST_REQUEST_BYTES = 16_384
"""The length of a request. A longer one closes its connection."""
_CHUNK = 4_096
_ACCEPTED_PER_TURN = 32  # so that open connections have their turn
_SHORTAGE_PAUSE_S = 0.1

Answer = Callable[[bytes], bytes]
"""Makes the answer from the head of a request. It must not wait: every client waits meanwhile."""


class Connections:
    """The open connections of one listening socket. `serve` runs until `close`."""

    def __init__(
        self,
        listening: socket.socket,
        answer: Answer,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listening = listening
        self._answer = answer
        self._monotonic = monotonic
        self._selector = selectors.DefaultSelector()
        self._open: dict[_Connection, None] = {}  # in the order of opening
        self._closing = threading.Event()

    def serve(self) -> None:
        """Serve until `close` is called by another thread."""
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)
        while not self._closing.is_set():
            for key, _ in self._selector.select(self._wait_s()):
                if key.data is None:
                    self._accept()
                elif key.data in self._open:
                    self._advance(key.data)
            self._close_overdue()
        for connection in [*self._open]:
            self._close(connection)
        self._selector.close()
        self._listening.close()

    def close(self) -> None:
        """Make `serve` return. Any thread may call this.

        On Linux, shutting down a listening socket wakes the selector that waits for it.
        """
        self._closing.set()
        # `serve` may have seen the flag and closed the socket already.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)

    def _wait_s(self) -> float | None:
        """Return the seconds to the next deadline. None is no deadline."""
        due = min((connection.deadline for connection in self._open), default=None)
        if due is None:
            return None
        return max(due - self._monotonic(), 0.0)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_PER_TURN):
            if self._closing.is_set():
                return
            try:
                accepted, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError:  # no file descriptor is left, or the client has gone
                self._close_oldest()
                self._closing.wait(_SHORTAGE_PAUSE_S)
                return
            if len(self._open) >= MOST_CONNECTIONS:
                self._close_oldest()
            accepted.setblocking(False)
            connection = _Connection(accepted, deadline=self._monotonic() + REQUEST_S)
            self._open[connection] = None
            self._selector.register(accepted, selectors.EVENT_READ, connection)
            self._advance(connection)

    def _advance(self, connection: "_Connection") -> None:
        try:
            was_request = connection.unsent is None
            is_over = connection.advance(self._answer)
        except BlockingIOError:
            return
        except OSError:
            is_over = True
        if is_over:
            self._close(connection)
        elif was_request and connection.unsent is not None:
            connection.deadline = self._monotonic() + ANSWER_S
            if connection.unsent:
                self._selector.modify(connection.socket, selectors.EVENT_WRITE, connection)
        elif connection.unsent == b"":
            self._selector.modify(connection.socket, selectors.EVENT_READ, connection)

    def _close_overdue(self) -> None:
        now = self._monotonic()
        for connection in [connection for connection in self._open if connection.deadline <= now]:
            self._close(connection)

    def _close_oldest(self) -> None:
        if self._open:
            self._close(next(iter(self._open)))

    def _close(self, connection: "_Connection") -> None:
        del self._open[connection]
        self._selector.unregister(connection.socket)
        connection.socket.close()


class _Connection:
    """One request and its answer.

    `unsent` is the rest of the answer. It is None until the request is whole.
    """

    def __init__(self, accepted: socket.socket, *, deadline: float) -> None:
        self.socket = accepted
        self.deadline = deadline
        self.unsent: bytes | None = None
        self._received = b""

    def advance(self, answer: Answer) -> bool:
        """Do the next step without waiting, and return whether the connection is finished.

        Raises:
            BlockingIOError: the client must send or take something first.
            OSError: the client has gone.
        """
        if self.unsent is None:
            data = self.socket.recv(_CHUNK)
            self._received += data
            if not self._is_whole:
                return not data or len(self._received) > MOST_REQUEST_BYTES
            self.unsent = answer(self._received)
        if not self.unsent:
            # Closing a socket with unread bytes resets the connection, and the client may lose the
            # answer (RFC 9112, 9.6). So wait until the client closes.
            return self.socket.recv(_CHUNK) == b""
        return self._send(self.unsent)

    @property
    def _is_whole(self) -> bool:
        return b"\r\n\r\n" in self._received or b"\n\n" in self._received

    def _send(self, unsent: bytes) -> bool:
        try:
            self.unsent = unsent[self.socket.send(unsent) :]
        except BlockingIOError:
            return False
        if not self.unsent:
            self.socket.shutdown(socket.SHUT_WR)
        return False
