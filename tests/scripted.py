"""Servers on loopback that answer as a test tells them to."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

Serve = Callable[[Callable[[socket.socket], None]], str]


@contextmanager
def silent_port() -> Iterator[int]:
    """Yield a port of loopback that refuses connections, and that the system gives to nobody else.

    A server that is told its number can listen on it meanwhile, also more than once.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as the scripted server saw it."""

    method: str
    target: str
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer of the scripted server."""

    status: int = 200
    body: bytes = b'{"success": true}'
    headers: dict[str, str] = field(default_factory=dict)


class Scripted(ThreadingHTTPServer):
    """A server that gives its replies in order, repeats the last one, and keeps its requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: list[Reply] = [Reply()]
        self.asked: list[Asked] = []
        self.origin = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Scripted

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        query = dict(parse_qsl(url.query))
        self.server.asked.append(
            Asked(
                method=self.command,
                target=self.path,
                path=url.path,
                query=query,
                headers=self.headers,
                body=body,
            )
        )
        reply = (
            self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        )
        self.send_response_only(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    do_GET = do_POST = answer  # noqa: N815 - as the base class names them

    def log_message(self, *args: object) -> None:
        """Write no log."""


def read_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            raise OSError("closed")
        received += chunk
    return received
