"""The HTTP endpoint of the daemon: `/metrics`, `/healthz` and `/readyz`.

One thread serves all clients (see `connections`). The standard library parses each request, in
memory, and writes the answer. The log never tells who asks.
"""

import errno
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from ipaddress import ip_address
from typing import Self
from urllib.parse import parse_qsl, urlsplit

import structlog
from prometheus_client import generate_latest

from poller.core.errors import FatalError
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.observability.connections import MOST_CONNECTIONS, Connections
from poller.service.observability.meter import Meter

_TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """The answer of a route."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    type: str = _TEXT


Query = Mapping[str, str]
"""The values after the question mark, by name."""
Routes = Mapping[str, Callable[[Query], Response]]
"""The function that makes the answer of each path from the query.

It must not wait for anything, because every other client waits meanwhile.
"""


class Health:
    """The problems of the daemon in words, or None without a problem.

    An outage of Auth0 or Segment makes the daemon late. It does not make it dead: a restart would
    not help.
    """

    def __init__(self, meter: Meter, heartbeat: Heartbeat, *, ready_lag: timedelta) -> None:
        self._meter = meter
        self._heartbeat = heartbeat
        self._ready_lag_s = ready_lag.total_seconds()

    def liveness_problem(self) -> str | None:
        """Return why the daemon is not alive, by the heartbeat that systemd's watchdog uses too."""
        return liveness_problem(self._heartbeat)

    def readiness_problem(self) -> str | None:
        """Return why new events do not arrive. A backlog beside them is no problem."""
        if self._meter.is_blocked:
            return "blocked: `status` says why"
        freshness_s = self._meter.ages.freshness_s()
        if freshness_s is None:
            return "nothing was read yet"
        if freshness_s > self._ready_lag_s:
            return f"the freshness is {freshness_s:.0f} s, above {self._ready_lag_s:.0f} s"
        return None


def liveness_problem(heartbeat: Heartbeat) -> str | None:
    """Return why a process is not alive, or None."""
    if heartbeat.is_alive:
        return None
    return "the loop hangs: it gave no sign of life in time"


def routes_of(meter: Meter, health: Health) -> Routes:
    """Return the routes of the daemon."""
    return {
        "/metrics": lambda _: Response(body=generate_latest(meter.registry), type=EXPOSITION),
        "/healthz": lambda _: health_response(health.liveness_problem()),
        "/readyz": lambda _: health_response(health.readiness_problem()),
    }


def health_response(problem: str | None) -> Response:
    """Return 200 without a problem, and 503 with one."""
    if problem is None:
        return Response(body=b"ok\n")
    return Response(body=f"{problem}\n".encode(), status=HTTPStatus.SERVICE_UNAVAILABLE)


class Listener:
    """A server on one address. It answers GET and HEAD from `open` to `close`."""

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
        """Listen on an address. Port 0 means any free port, and the log says which.

        Raises:
            FatalError: the address cannot be listened on.
        """
        listener = cls(listen(host, port), routes)
        listener._thread.start()
        log.info("metrics.listening", address=shown_address(host, listener.port))
        if not ip_address(host).is_loopback:
            log.warning(
                "metrics.exposed",
                note="other machines can read the metrics, because there is no password",
            )
        return listener

    def close(self) -> None:
        self._connections.close()
        self._thread.join(1.0)


class _Exchange(BaseHTTPRequestHandler):
    """One request, parsed and answered in memory by the standard library.

    `answered` is the whole answer.
    """

    server_version = "auth0-segment-poller"
    sys_version = ""

    def __init__(self, request: bytes, routes: Routes, *, is_loopback: bool) -> None:
        # The constructor of the base class would read from a socket, and wait. It is not called.
        self.rfile = BytesIO(request)
        self._written = self.wfile = BytesIO()
        self._routes = routes
        self._is_loopback = is_loopback
        self.close_connection = True
        self.handle_one_request()
        self.answered = self._written.getvalue()

    def answer(self) -> None:
        self._send(self._misdirected() or self._routed())

    do_GET = do_HEAD = answer  # noqa: N815 - as the base class names them

    def decline(self) -> None:
        self._send(
            Response(body=b"GET and HEAD only\n", status=HTTPStatus.METHOD_NOT_ALLOWED),
            Allow="GET, HEAD",
        )

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = decline  # noqa: N815 - same

    def _routed(self) -> Response:
        path, _, query = self.path.partition("?")
        route = self._routes.get(path)
        if route is None:
            return Response(body=b"no such page\n", status=HTTPStatus.NOT_FOUND)
        return _called(route, dict(parse_qsl(query)))

    def _misdirected(self) -> Response | None:
        """Refuse a request on loopback that names another host.

        The owner of a web site can let its name resolve to 127.0.0.1 (DNS rebinding). A browser on
        this machine would then read the metrics for the site. It always sends the name as Host.
        """
        hosts = self.headers.get_all("Host", [])
        if not self._is_loopback or (not hosts and self.request_version == "HTTP/1.0"):
            return None
        if len(hosts) == 1 and is_loopback_name(hosts[0]):
            return None
        reason = b"ask by 127.0.0.1, [::1] or localhost: this address answers to no other Host\n"
        return Response(body=reason, status=HTTPStatus.MISDIRECTED_REQUEST)

    def _send(self, response: Response, **headers: str) -> None:
        self.send_response(response.status)
        for name, value in {
            "Content-Type": response.type,
            "Content-Length": str(len(response.body)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class
        """Write nothing. The base class would write a line for each request."""


def listen(host: str, port: int, *, setting: str = "metrics.listen") -> socket.socket:
    """Return a socket that listens on an address. Port 0 means any free port.

    An error names the setting that holds the address.

    Raises:
        FatalError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=MOST_CONNECTIONS)
    except OSError as error:
        raise FatalError(
            f"{setting}: cannot listen on {shown_address(host, port)}: {error.strerror}",
            code="listen-address-unusable",
            hint=_hint(error, setting),
        ) from None


def is_loopback_name(host: str) -> bool:
    """Return whether a Host header names this machine by a name that cannot be rebound."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _called(route: Callable[[Query], Response], query: Query) -> Response:
    try:
        return route(query)
    except Exception as error:  # noqa: BLE001 - a bug in a page must not hurt the daemon
        log.warning("metrics.failed", error=type(error).__name__)
        return Response(body=b"it failed\n", status=HTTPStatus.INTERNAL_SERVER_ERROR)


def shown_address(host: str, port: int) -> str:
    """Return an address as a URL has it."""
    if ":" in host:
        return f"[{host}]:{port}"
    return f"{host}:{port}"


def _hint(error: OSError, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"another process listens there (`ss -ltnp` names it): end it, or give {setting}"
            " another port"
        )
    if error.errno == errno.EACCES:
        return f"ports below 1024 are for root: give {setting} a port above"
    return f'{setting} must be an address of this machine, such as "127.0.0.1:9464"'
