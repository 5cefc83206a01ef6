"""A small HTTP server beside the daemon: metrics, and whether it is alive and ready.

It serves from daemon threads, says nothing in the log of who asks, and however slow or many its clients are, it costs
the daemon at most `MOST_CLIENTS` threads for `DEADLINE_S`.
"""

import contextlib
import errno
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any, Self

import structlog
from prometheus_client import generate_latest

from poller.core.errors import FatalError
from poller.service.health import Health
from poller.service.meter import Meter
from poller.service.metrics import registry_of

MOST_CLIENTS = 8
DEADLINE_S = 10.0
_TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a path answers with."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    type: str = _TEXT


Routes = Mapping[str, Callable[[], Page]]


def routes_of(meter: Meter, health: Health, version: str) -> Routes:
    registry = registry_of(meter, version)
    return {
        "/metrics": lambda: Page(body=generate_latest(registry), type=EXPOSITION),
        "/healthz": lambda: verdict(health.not_alive()),
        "/readyz": lambda: verdict(health.not_ready()),
    }


def verdict(wrong: str | None) -> Page:
    """200 where nothing is wrong, else 503 and what it is."""
    if wrong is None:
        return Page(body=b"ok\n")
    return Page(body=f"{wrong}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)


class Listener:
    """Answers GET and HEAD on one address, from when it was opened until it is closed."""

    def __init__(self, server: "_Server") -> None:
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    @classmethod
    def open(cls, host: str, port: int, routes: Routes) -> Self:
        """Port 0 is any that is free; the log says which.

        Raises:
            FatalError: the address cannot be listened on.
        """
        try:
            server = (_Server6 if ":" in host else _Server)((host, port), routes)
        except OSError as error:
            raise FatalError(
                f"metrics.listen: cannot listen on {_shown(host, port)}: {error.strerror}", hint=_hint(error)
            ) from None
        listener = cls(server)
        listener._thread.start()
        log.info("metrics.listening", address=_shown(host, server.server_port))
        if not ip_address(host).is_loopback:
            log.warning("metrics.exposed", note="other machines can read the metrics; there is no password")
        return listener

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(1.0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_CLIENTS

    def __init__(self, address: tuple[str, int], routes: Routes) -> None:
        self.routes = routes
        self._free = threading.BoundedSemaphore(MOST_CLIENTS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # As TCPServer; HTTPServer's own asks the name service who we are.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment] # as HTTPServer has them

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread is to be had
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # A timeout is per read: a dripping client outlives it.
        timer = threading.Timer(DEADLINE_S, _end, (request,))
        timer.daemon = True
        try:
            timer.start()
            super().process_request_thread(request, client_address)
        finally:
            timer.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's trouble."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "auth0-segment-poller"
    sys_version = ""
    timeout = DEADLINE_S

    def answer(self) -> None:
        route = self.server.routes.get(self.path.split("?")[0])
        page = _made(route) if route else Page(body=b"no such page\n", status=HTTPStatus.NOT_FOUND)
        self._send(page)

    do_GET = do_HEAD = answer  # noqa: N815 - as the base class names them

    def decline(self) -> None:
        self._send(Page(body=b"GET and HEAD only\n", status=HTTPStatus.METHOD_NOT_ALLOWED), Allow="GET, HEAD")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = decline  # noqa: N815 - as the base class names them

    def _send(self, page: Page, **headers: str) -> None:
        self.send_response(page.status)
        for name, value in {"Content-Type": page.type, "Content-Length": str(len(page.body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Says nothing."""


def _made(route: Callable[[], Page]) -> Page:
    try:
        return route()
    except Exception as error:  # noqa: BLE001 - a bug here is no reason to hurt the daemon
        log.warning("metrics.failed", error=type(error).__name__)
        return Page(body=b"it failed\n", status=HTTPStatus.INTERNAL_SERVER_ERROR)


def _end(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _hint(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process listens there (`ss -ltnp` names it): end it, or give metrics.listen another port"
    if error.errno == errno.EACCES:
        return "ports below 1024 are for root: give metrics.listen a port above"
    return 'metrics.listen must be an address of this machine, as "127.0.0.1:9464"'
