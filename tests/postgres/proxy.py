"""A proxy between a process and the server, by which a test cuts the network between them."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_BYTES = 65536


class Proxy:
    """A TCP proxy on loopback. Thread-safe."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._flowing = threading.Event()
        self._flowing.set()
        self._is_cut = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def cut(self) -> None:
        """Close every connection, and each new one at once."""
        self._is_cut = True
        self._drop()

    def freeze(self) -> None:
        """Let nothing through. What is sent meanwhile arrives late, after `heal`."""
        self._flowing.clear()

    def heal(self) -> None:
        self._is_cut = False
        self._flowing.set()

    def close(self) -> None:
        self.cut()
        self._flowing.set()
        shut(self._listening)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self._is_cut:
                    client.close()
                else:
                    self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._server_port))
        except OSError:  # the server restarts
            client.close()
            return
        self._sockets += [client, server]
        for ends in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=ends, name="proxy", daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_BYTES):
                self._flowing.wait()
                target.sendall(data)
        self._flowing.wait()
        shut(source)
        shut(target)

    def _drop(self) -> None:
        dropped, self._sockets = self._sockets, []
        for each in dropped:
            shut(each)


def shut(end: socket.socket) -> None:
    """Close a socket, and wake the thread that reads from it."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def proxy_to(server_port: int) -> Iterator[Proxy]:
    proxy = Proxy(server_port)
    try:
        yield proxy
    finally:
        proxy.close()
