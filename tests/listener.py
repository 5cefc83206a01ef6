"""The service manager's end of sd_notify(3)."""

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE_S = 120.0
_ASKED = b"the listener's own question"


class Listener:
    """A reader of messages, which takes them as they come, as systemd does.

    A sender never waits for the test: how many messages a socket holds is a setting of the host
    (net.unix.max_dgram_qlen).
    """

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address)
        self._messages: queue.SimpleQueue[dict[str, str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def heard(self) -> list[dict[str, str]]:
        """Return all messages that were sent before this call and not returned yet."""
        self._ask()
        return list(iter(lambda: self._messages.get(timeout=_PATIENCE_S), None))

    def close(self) -> None:
        self._ask()
        self._socket.shutdown(socket.SHUT_RD)
        self._thread.join(_PATIENCE_S)
        self._socket.close()

    def _ask(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_PATIENCE_S)
            sender.sendto(_ASKED, self._address)

    def _read(self) -> None:
        while message := self._socket.recv(65536):
            if message == _ASKED:
                self._messages.put(None)
            else:
                lines = message.decode().splitlines()
                self._messages.put(dict(line.split("=", 1) for line in lines))


@contextmanager
def listening(address: str) -> Iterator[Listener]:
    listener = Listener(address)
    try:
        yield listener
    finally:
        listener.close()


def heard(listener: Listener, kept: dict[str, str]) -> dict[str, str]:
    """Add the messages since the last call to those that were kept, and return the last of each."""
    for message in listener.heard():
        kept |= message
    return kept
