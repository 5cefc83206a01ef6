"""A small HTTP server beside the daemon: metrics, and whether it is alive and ready.

It serves from one daemon thread and says nothing in the log of who asks. However slow or many its clients are, each of
them has its answer at once (see `connections`).
"""

import errno
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from ipaddress import ip_address
from typing import Self
from urllib.parse import urlsplit

import structlog
from prometheus_client import generate_latest

from poller.core.errors import FatalError
from poller.service.observability.connections import MOST_CONNECTIONS, Connections
from poller.service.observability.health import Health
from poller.service.observability.meter import Meter

_TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a path answers with."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    type: str = _TEXT


Routes = Mapping[str, Callable[[], Response]]
"""What makes the page of each path. It must not wait for anything: every other client waits meanwhile."""


def routes_of(meter: Meter, health: Health) -> Routes:
    return {
        "/metrics": lambda: Response(body=generate_latest(meter.registry), type=EXPOSITION),
        "/healthz": lambda: verdict(health.liveness_problem()),
        "/readyz": lambda: verdict(health.readiness_problem()),
    }


def verdict(wrong: str | None) -> Response:
    """200 where nothing is wrong, else 503 and what it is."""
    if wrong is None:
        return Response(body=b"ok\n")
    return Response(body=f"{wrong}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)


class Listener:
    """Answers GET and HEAD on one address, from when it was opened until it is closed."""

    def __init__(self, listening: socket.socket, routes: Routes) -> None:
        self.host, self.port = listening.getsockname()[:2]
        is_loopback = ip_address(self.host).is_loopback
        self._connections = Connections(
            listening, lambda request: _Exchange(request, routes, is_loopback=is_loopback).answered
        )
        self._thread = threading.Thread(
            target=self._connections.serve, name="listener", daemon=True
        )

    @classmethod
    def open(cls, host: str, port: int, routes: Routes) -> Self:
        """Port 0 is any that is free; the log says which.

        Raises:
            FatalError: the address cannot be listened on.
        """
        try:
            listening = _listening(host, port)
        except OSError as error:
            raise FatalError(
                f"metrics.listen: cannot listen on {_shown(host, port)}: {error.strerror}",
                code="listen-address-unusable",
                hint=_hint(error),
            ) from None
        listener = cls(listening, routes)
        listener._thread.start()
        log.info("metrics.listening", address=_shown(host, listener.port))
        if not ip_address(host).is_loopback:
            log.warning(
                "metrics.exposed", note="other machines can read the metrics; there is no password"
            )
        return listener

    def close(self) -> None:
        self._connections.close()
        self._thread.join(1.0)


class _Exchange(BaseHTTPRequestHandler):
    """One request, parsed and answered in memory by the standard library; `answered` is the whole answer."""

    server_version = "auth0-segment-poller"
    sys_version = ""

    def __init__(self, request: bytes, routes: Routes, *, is_loopback: bool) -> None:
        # Not the base class's own constructor: it would read from a socket, and wait for it.
        self.rfile = BytesIO(request)
        self._written = self.wfile = BytesIO()
        self._routes = routes
        self._is_loopback = is_loopback
        self.close_connection = True
        self.handle_one_request()
        self.answered = self._written.getvalue()

    def answer(self) -> None:
        self._send(self._misdirected() or self._page())

    do_GET = do_HEAD = answer  # noqa: N815 - as the base class names them

    def decline(self) -> None:
        self._send(
            Response(body=b"GET and HEAD only\n", status=HTTPStatus.METHOD_NOT_ALLOWED),
            Allow="GET, HEAD",
        )

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = decline  # noqa: N815 - as the base class names them

    def _page(self) -> Response:
        route = self._routes.get(self.path.split("?")[0])
        return (
            _made(route) if route else Response(body=b"no such page\n", status=HTTPStatus.NOT_FOUND)
        )

    def _misdirected(self) -> Response | None:
        """Refuse another host's name on loopback.

        A page in somebody's browser can have its own name resolved to 127.0.0.1, and would read what
        we answer. A browser always sends that name as Host.
        """
        hosts = self.headers.get_all("Host", [])
        if not self._is_loopback or (not hosts and self.request_version == "HTTP/1.0"):
            return None
        if len(hosts) == 1 and _is_loopback_name(hosts[0]):
            return None
        told = b"ask by 127.0.0.1, [::1] or localhost: this address answers to no other Host\n"
        return Response(body=told, status=HTTPStatus.MISDIRECTED_REQUEST)

    def _send(self, page: Response, **headers: str) -> None:
        self.send_response(page.status)
        for name, value in {
            "Content-Type": page.type,
            "Content-Length": str(len(page.body)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Says nothing."""


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=MOST_CONNECTIONS)


def _is_loopback_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _made(route: Callable[[], Response]) -> Response:
    try:
        return route()
    except Exception as error:  # noqa: BLE001 - a bug here is no reason to hurt the daemon
        log.warning("metrics.failed", error=type(error).__name__)
        return Response(body=b"it failed\n", status=HTTPStatus.INTERNAL_SERVER_ERROR)


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _hint(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process listens there (`ss -ltnp` names it): end it, or give metrics.listen another port"
    if error.errno == errno.EACCES:
        return "ports below 1024 are for root: give metrics.listen a port above"
    return 'metrics.listen must be an address of this machine, as "127.0.0.1:9464"'
