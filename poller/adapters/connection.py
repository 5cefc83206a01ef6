"""A connection to an origin, for one thread, and the messages for its failures.

A deadline can end a call on the connection.
"""

import contextlib
import errno
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import httpx

from poller import __version__
from poller.adapters.bodies import ACCEPTED_ENCODING, read_body
from poller.adapters.environment import proxy_for, shown
from poller.core.errors import FatalError

CONNECT_S, READ_S = 5.0, 15.0
USER_AGENT = f"auth0-segment-poller/{__version__}"
"""The User-Agent. The services see it in their logs, so a request leads to a version."""
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN}


_TIMEOUTS = httpx.Timeout(READ_S, connect=CONNECT_S).as_dict()
_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": ACCEPTED_ENCODING,
    "Connection": "keep-alive",
    "User-Agent": USER_AGENT,
}
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Connection:
    """A transport of httpx, and a second handle on its socket by which a deadline can end a call.

    A client of httpx would follow redirects, keep cookies, and log in. A call here does none of
    this: a 307 would carry the key and the people to another host. To do without also takes less
    time.
    """

    def __init__(
        self, origin: str, transport: httpx.HTTPTransport, *, proxy: str | None, is_tunnelled: bool
    ) -> None:
        self._origin = origin
        self._transport = transport
        self._is_tunnelled = is_tunnelled
        self._opened = time.monotonic()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._is_past_proxy = False
        self._proxy = proxy
        self.is_expired = False
        self.is_closed = False

    @classmethod
    def open(cls, origin: str, trust: ssl.SSLContext) -> "Connection":
        """Prepare a connection, through the proxy that the environment names for this origin.

        Raises:
            FatalError: the environment names a proxy that cannot be used.
        """
        proxy = proxy_for(origin)
        try:
            transport = httpx.HTTPTransport(verify=trust, proxy=proxy, trust_env=False)
        except (httpx.InvalidURL, ValueError, ImportError) as error:
            # The origin was checked with the settings, so the variable is at fault.
            raise FatalError(
                f"the proxy variables of the environment cannot be used ({type(error).__name__})",
                code="proxy-unusable",
                hint="HTTP_PROXY, HTTPS_PROXY and ALL_PROXY must be http://host:port. SOCKS is not "
                "supported",
            ) from None
        is_tunnelled = origin.startswith("https:")
        named = None if proxy is None else shown(proxy)
        return cls(origin.rstrip("/"), transport, proxy=named, is_tunnelled=is_tunnelled)

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._opened

    @property
    def failing_proxy(self) -> str | None:
        """The proxy, until the call has come past it. Until then a failure is the proxy's."""
        return None if self._is_past_proxy else self._proxy

    def exchange(
        self, method: str, path: str, *, headers: Mapping[str, str] = _NO_HEADERS, **request: Any
    ) -> tuple[int, httpx.Headers, bytes]:
        """Send one request and return the status, the headers and the whole body.

        Raises:
            UnusableBodyError: the body is beyond its bound, or in an encoding that was not asked
                for.
            httpx.RequestError, httpx.StreamError, OSError: no whole answer came.
        """
        asked = httpx.Request(
            method,
            f"{self._origin}{path}",
            headers={**_HEADERS, **headers},
            extensions={"timeout": _TIMEOUTS, "trace": self._note},
            **request,
        )
        with contextlib.closing(self._transport.handle_request(asked)) as response:
            body = read_body(response.iter_raw(), response.headers.get("Content-Encoding", ""))
            return response.status_code, response.headers, body

    def close(self) -> None:
        self.is_closed = True
        self._transport.close()
        self._keep(None)

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
    if isinstance(error, httpx.ProxyError):
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
    return (
        "no answer in time" if isinstance(error, httpx.TimeoutException) else type(error).__name__
    )
