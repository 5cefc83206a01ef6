"""The connections of the HTTP listener. One thread serves them all, and no client makes another one wait."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable

REQUEST_S = 2.0
"""A connection that has not sent its whole request by then is closed."""
ANSWER_S = 5.0
"""A connection that has not taken its whole answer by then is closed."""
MOST_CONNECTIONS = 256
"""One more closes the oldest. A client that asks at once has its answer before it is the oldest."""
MOST_REQUEST_BYTES = 16_384
"""A request without an end by then closes its connection."""
_CHUNK = 4_096
_ACCEPTED_AT_ONCE = 32
_PAUSE_S = 0.1

Answer = Callable[[bytes], bytes]
"""Makes the answer to a request from its head. It must not wait for anything: everybody waits meanwhile."""


class Connections:
    """Reads requests from a listening socket and writes the answers, until `close`."""

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
        self._open: dict[_Connection, None] = {}  # the oldest first
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
                    self._go_on(key.data)
            self._close_late()
        for connection in [*self._open]:
            self._close(connection)
        self._selector.close()
        self._listening.close()

    def close(self) -> None:
        """Make `serve` return. On Linux this wakes whoever waits for the socket."""
        self._closing.set()
        with contextlib.suppress(
            OSError
        ):  # `serve` may have seen the flag and closed the socket already
            self._listening.shutdown(socket.SHUT_RDWR)

    def _wait_s(self) -> float | None:
        due = min((connection.due_at for connection in self._open), default=None)
        return None if due is None else max(due - self._monotonic(), 0.0)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            if self._closing.is_set():
                return
            try:
                accepted, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError:  # no file descriptor is left, or the client is gone
                self._close_oldest()
                self._closing.wait(_PAUSE_S)
                return
            if len(self._open) >= MOST_CONNECTIONS:
                self._close_oldest()
            accepted.setblocking(False)
            connection = _Connection(accepted, due_at=self._monotonic() + REQUEST_S)
            self._open[connection] = None
            self._selector.register(accepted, selectors.EVENT_READ, connection)
            self._go_on(connection)

    def _go_on(self, connection: "_Connection") -> None:
        try:
            was_asking = connection.unsent is None
            is_over = connection.go_on(self._answer)
        except BlockingIOError:
            return
        except OSError:
            is_over = True
        if is_over:
            self._close(connection)
        elif was_asking and connection.unsent is not None:
            connection.due_at = self._monotonic() + ANSWER_S
            if connection.unsent:
                self._selector.modify(connection.socket, selectors.EVENT_WRITE, connection)
        elif connection.unsent == b"":
            self._selector.modify(connection.socket, selectors.EVENT_READ, connection)

    def _close_late(self) -> None:
        now = self._monotonic()
        for connection in [connection for connection in self._open if connection.due_at <= now]:
            self._close(connection)

    def _close_oldest(self) -> None:
        if self._open:
            self._close(next(iter(self._open)))

    def _close(self, connection: "_Connection") -> None:
        del self._open[connection]
        self._selector.unregister(connection.socket)
        connection.socket.close()


class _Connection:
    """One request and its answer. `unsent` is None until the request is whole."""

    def __init__(self, accepted: socket.socket, *, due_at: float) -> None:
        self.socket = accepted
        self.due_at = due_at
        self.unsent: bytes | None = None
        self._received = b""

    def go_on(self, answer: Answer) -> bool:
        """Do the next step, and return True at the end.

        Raises:
            OSError: the client is gone, or BlockingIOError where it is the client's turn.
        """
        if self.unsent is None:
            data = self.socket.recv(_CHUNK)
            self._received += data
            if not self._is_whole:
                return not data or len(self._received) > MOST_REQUEST_BYTES
            self.unsent = answer(self._received)
        if not self.unsent:
            # A socket that is closed with bytes unread takes the answer back: wait for the client to close.
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
