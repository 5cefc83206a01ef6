"""A connection to an origin, for one thread, and the messages for its failures.

A deadline can end a call on the connection.
"""

import contextlib
import errno
import json as json_library
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import httpcore

from poller import __version__
from poller.adapters.bodies import ACCEPTED_ENCODING, read_body
from poller.adapters.environment import proxy_for, shown
from poller.core.errors import FatalError

CONNECT_S, READ_S = 5.0, 15.0
USER_AGENT = f"auth0-segment-poller/{__version__}"
"""The User-Agent. The services see it in their logs, so a request leads to a version."""
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN}


_KEPT_S = 5.0
"""Seconds for which a connection is kept that no call uses."""
_TIMEOUTS = {"connect": CONNECT_S, "read": READ_S, "write": READ_S}
_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": ACCEPTED_ENCODING,
    "Connection": "keep-alive",
    "User-Agent": USER_AGENT,
}
_SAFE = "%/?:@!$&'()*+,;="
"""The characters of a path and a query that stay, so that what is encoded is not encoded twice."""
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
FAILURES = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.ConnectionNotAvailable,  # another thread closed it
)
"""The errors of httpcore if no whole answer came."""
_REASONS = {
    httpcore.TimeoutException: "no answer in time",
    httpcore.RemoteProtocolError: "the answer breaks off, or is no HTTP",
}


class Connection:
    """A connection of httpcore, and a second handle on its socket by which a deadline ends a call.

    It connects at its first call, and never again. httpcore is what httpx is built on. A client of
    httpx would follow redirects, keep cookies and log in, and takes twice the time. A call here
    does none of this: a 307 would carry the key and the people to another host.
    """

    def __init__(
        self, origin: str, pool: httpcore.ConnectionPool, *, proxy: str | None, is_tunnelled: bool
    ) -> None:
        url = urlsplit(origin)
        self._place = url.scheme, url.hostname or "", url.port
        self._headers = {"Host": url.netloc, **_HEADERS}
        # The pool knows how to go through a proxy. It keeps no connection, and would take more
        # time for each call.
        self._http = pool.create_connection(self._url("/").origin)
        self._is_tunnelled = is_tunnelled
        self._opened = time.monotonic()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._is_past_proxy = False
        self._proxy = proxy
        self.is_expired = False

    @classmethod
    def open(cls, origin: str, trust: ssl.SSLContext) -> "Connection":
        """Prepare a connection, through the proxy that the environment names for this origin.

        Raises:
            FatalError: the environment names a proxy that cannot be used.
        """
        proxy = proxy_for(origin)
        try:
            pool = _pool(proxy, trust)
        except ValueError as error:
            # The origin was checked with the settings, so the variable is at fault.
            raise FatalError(
                f"the proxy variables of the environment cannot be used ({type(error).__name__})",
                code="proxy-unusable",
                hint="HTTP_PROXY, HTTPS_PROXY and ALL_PROXY must be http://host:port. SOCKS is not "
                "supported",
            ) from None
        is_tunnelled = origin.startswith("https:")
        named = None if proxy is None else shown(proxy)
        return cls(origin.rstrip("/"), pool, proxy=named, is_tunnelled=is_tunnelled)

    @property
    def has_ended(self) -> bool:
        """True if no further call can use it: either side closed it, or it rested for too long."""
        return self._http.is_closed() or self._http.has_expired()

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._opened

    @property
    def failing_proxy(self) -> str | None:
        """The proxy, until the call has come past it. Until then a failure is the proxy's."""
        return None if self._is_past_proxy else self._proxy

    def exchange(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] = _NO_HEADERS,
        content: bytes | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request and return the status, the headers and the whole body.

        The body of the request is `content`, or else `json`, or else `form`. The names of the
        returned headers are in small letters.

        Raises:
            UnusableBodyError: the body is beyond its bound, or in an encoding that was not asked
                for.
            FAILURES, OSError: no whole answer came.
        """
        asked = {**self._headers, **headers}
        if json is not None:
            content = json_library.dumps(json, allow_nan=False).encode()
            asked["Content-Type"] = "application/json"
        elif form is not None:
            content = urlencode(form).encode()
            asked["Content-Type"] = "application/x-www-form-urlencoded"
        with self._http.stream(
            method,
            self._url(f"{path}?{urlencode(params)}" if params else path),
            headers=[*asked.items()],
            content=content,
            extensions=self._extensions(),
        ) as response:
            answered = _by_name(response.headers)
            body = read_body(response.iter_stream(), answered.get("content-encoding", ""))
            return response.status, answered, body

    def close(self) -> None:
        self._http.close()
        self._keep(None)

    def _url(self, path: str) -> httpcore.URL:
        # httpcore would parse a text, and leave out what follows a semicolon in the path.
        target = quote(path, safe=_SAFE)
        scheme, host, port = self._place
        return httpcore.URL(
            scheme=scheme,
            host=host,
            port=port,
            target=target if target.startswith("/") else f"/{target}",
        )

    def _extensions(self) -> dict[str, Any]:
        """Return the timeouts of a call. The first call connects, and is traced for that."""
        traced = {"trace": self._note} if self._socket is None else {}
        return {"timeout": _TIMEOUTS, **traced}

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            # TLS takes the original socket over, so a duplicate is kept. Both are one connection.
            self._keep(info["return_value"].get_extra_info("socket").dup())
            self._is_past_proxy = not self._is_tunnelled
            if self.is_expired:  # the deadline passed while the name was being resolved
                self.expire()
        elif event == "proxy.start_tls.started":  # the proxy has answered the CONNECT
            self._is_past_proxy = True

    def _keep(self, handle: socket.socket | None) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = handle

    def expire(self) -> None:
        """End the call under way. Any thread may do so."""
        self.is_expired = True
        with self._lock, contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)


def _pool(proxy: str | None, trust: ssl.SSLContext) -> httpcore.ConnectionPool:
    """Return a pool that makes connections to the origin, or through the proxy.

    Raises:
        ValueError: the URL of the proxy is none that can be used.
    """
    if proxy is None:
        return httpcore.ConnectionPool(trust, keepalive_expiry=_KEPT_S)
    url = urlsplit(proxy)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ValueError("not the URL of an HTTP proxy")
    name, password = unquote(url.username or "").encode(), unquote(url.password or "").encode()
    return httpcore.HTTPProxy(
        httpcore.URL(
            scheme=url.scheme, host=url.hostname.encode("idna"), port=url.port, target="/"
        ),
        proxy_auth=(name, password) if name or password else None,
        ssl_context=trust,
        keepalive_expiry=_KEPT_S,
    )


def _by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers by name. Several of one name become a list (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def trouble(origin: str, connection: Connection | None, error: BaseException) -> str:
    """Return a message that says who failed and how: this machine, the proxy, or the origin.

    It never holds a URL with a path, and never a body.
    """
    if isinstance(error, MemoryError) or _errno(error) in _SHORTAGES:
        return f"this machine cannot call {origin} for now: {_reason(error)}"
    reason = (
        "no answer in time" if connection is not None and connection.is_expired else _reason(error)
    )
    proxy = connection.failing_proxy if connection is not None else None
    if proxy is None:
        return f"{origin}: {reason}"
    return f"the proxy {proxy}, on the way to {origin}: {reason}"


def is_unknown_host(error: BaseException) -> bool:
    """Return whether the resolver says that no host has this name.

    A resolver that cannot answer does not count.
    """
    return any(
        isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes


def _errno(error: BaseException) -> int | None:
    return next(
        (cause.errno for cause in _causes(error) if isinstance(cause, OSError) and cause.errno),
        None,
    )


def _reason(error: BaseException) -> str:
    """Return the reason why no answer came, in the system's own words if it has any."""
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, httpcore.ProxyError):
        status = re.match(r"\d{3}", str(error))  # the rest is the proxy's own text
        if status:
            return f"it answered {status.group()}"
        return "it refused"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, TimeoutError):
            break
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    named = (text for kind, text in _REASONS.items() if isinstance(error, kind))
    return next(named, type(error).__name__)
