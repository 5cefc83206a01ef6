"""The HTTP that both vendors' adapters speak: deadlines that hold, no redirects, nothing kept after a failure."""

import contextlib
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import certifi
import httpx

from poller.adapters.deadlines import Deadlines
from poller.core.errors import FatalError, TransientError

CONNECT_S, READ_S, DEADLINE_S = 5.0, 15.0, 30.0
CONNECTION_LIFETIME_S = 3600.0  # Segment asks to resolve its name anew at least daily (Segment docs: HTTP API)
MAX_BODY_BYTES = 64 * 1024 * 1024  # far above a page of 100 log events; a bound all the same
_LONGEST_INT = 1000  # digits
MAX_RETRY_AFTER = timedelta(hours=1)
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole response; `at` is the server's clock, or the host's where the server did not say."""

    status: int
    headers: httpx.Headers = field(repr=False)
    body: bytes = field(repr=False)
    at: datetime

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is none, or nested deeper than anyone means.
        """
        try:
            return json.loads(self.body, parse_int=whole_number)
        except RecursionError:
            raise ValueError("nested too deep") from None

    @property
    def retry_after(self) -> timedelta | None:
        return parse_retry_after(self.headers.get("Retry-After"), now=self.at)


def whole_number(digits: str) -> int | float:
    """For JSON: Python refuses to read an int of over 4,300 digits, and one must not make its record unreadable."""
    return int(digits) if len(digits) < _LONGEST_INT else float(digits)


Observe = Callable[[str, int | None, float], None]
"""Told of each call that is over: its path, its status if a whole answer came, its seconds."""


class ServerClock:
    """The time as the servers tell it, so that a wrong host clock shifts no event; the host's until one has told."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: tuple[datetime, float] | None = None

    def observe(self, date: datetime) -> None:
        self._seen = (date, self._monotonic())

    def now(self) -> datetime:
        if self._seen is None:
            return datetime.now(UTC)
        date, at = self._seen
        return date + timedelta(seconds=self._monotonic() - at)


class Http:
    """A client for one origin; each thread has its own connection.

    A call ends by `deadline_s` whatever the server does, name resolution excepted. Proxy and CA variables of the
    environment are honoured; certificates are always verified.
    """

    def __init__(
        self,
        origin: str,
        clock: ServerClock,
        *,
        deadline_s: float = DEADLINE_S,
        observe: Observe = lambda path, status, seconds: None,  # noqa: ARG005 - nobody looks
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        self._origin = origin
        self._clock = clock
        self._deadline_s = deadline_s
        self._observe = observe
        self._on_step = on_step
        self._trust: ssl.SSLContext | None = None
        self._threads = threading.local()
        self._connections: set[_Connection] = set()
        self._deadlines = Deadlines()
        self.skew: timedelta | None = None
        """How far this host's clock was behind the server's at the last answer, to the second."""

    def call(self, method: str, path: str, **request: Any) -> Answer:
        """One attempt; `request` is what httpx takes: params, json, content, headers.

        Raises:
            TransientError: no whole answer came in time.
            FatalError: the environment's CA file cannot be used.
        """
        connection = self._connection()
        self._on_step()
        began, status = time.monotonic(), None
        try:
            with self._deadlines.within(self._deadline_s, connection.expire):
                status, headers, body = connection.exchange(method, path, **request)
        except (httpx.RequestError, httpx.StreamError, OSError, _TooLargeError) as error:
            self._drop(connection)
            late = connection.is_expired
            raise TransientError(f"{self._origin}: {'no answer in time' if late else _reason(error)}") from None
        finally:
            self._observe(path, status, time.monotonic() - began)
            self._on_step()
        return self._answer(status, headers, body)

    def close(self) -> None:
        """Closes every thread's connection; a call that another thread has under way fails."""
        while self._connections:
            self._connections.pop().close()
        self._deadlines.close()

    def _answer(self, status: int, headers: httpx.Headers, body: bytes) -> Answer:
        date = parse_http_date(headers.get("Date"))
        if date is not None:
            self._clock.observe(date)
            self.skew = date - datetime.now(UTC)
        return Answer(status=status, headers=headers, body=body, at=date or self._clock.now())

    def _connection(self) -> "_Connection":
        held: _Connection | None = getattr(self._threads, "connection", None)
        if held is not None and held.age_s > CONNECTION_LIFETIME_S:
            self._drop(held)
            held = None
        if held is None or held.is_closed:
            self._trust = self._trust or _trust(os.environ)
            held = self._threads.connection = _connected(self._origin, self._trust)
            self._connections.add(held)
        return held

    def _drop(self, connection: "_Connection") -> None:
        self._connections.discard(connection)
        connection.close()


def _connected(origin: str, trust: ssl.SSLContext) -> "_Connection":
    try:
        return _Connection(origin, trust)
    except (httpx.InvalidURL, ValueError, ImportError) as error:
        # The origin was checked with the settings, so that it is a variable of the environment.
        raise FatalError(
            f"the proxy variables of the environment cannot be used ({type(error).__name__})",
            hint="HTTP_PROXY, HTTPS_PROXY and ALL_PROXY must be http://host:port (SOCKS is not known here), NO_PROXY a "
            "list of host names",
        ) from None


class _Connection:
    """One thread's httpx client, and a second handle on its socket by which a deadline can end it."""

    def __init__(self, origin: str, trust: ssl.SSLContext) -> None:
        self._client = httpx.Client(
            base_url=origin,
            verify=trust,
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
            follow_redirects=False,  # a 307 would carry the key and the people to another host
        )
        self._opened = time.monotonic()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self.is_expired = False

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._opened

    @property
    def is_closed(self) -> bool:
        return self._client.is_closed

    def exchange(self, method: str, path: str, **request: Any) -> tuple[int, httpx.Headers, bytes]:
        with self._client.stream(method, path, extensions={"trace": self._note}, **request) as response:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _TooLargeError
            return response.status_code, response.headers, bytes(body)

    def close(self) -> None:
        self._client.close()
        self._keep(None)

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        # A duplicate, since TLS takes the original over; both are the same connection.
        if event == "connection.connect_tcp.complete":
            self._keep(info["return_value"].get_extra_info("socket").dup())
            if self.is_expired:  # while the name was being resolved
                self.expire()

    def _keep(self, handle: socket.socket | None) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = handle

    def expire(self) -> None:
        """Ends the call under way, by whatever thread."""
        self.is_expired = True
        with self._lock, contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)


class _TooLargeError(Exception):
    """The body outgrew its bound."""

    def __str__(self) -> str:
        return "the answer is too large"


def parse_http_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_retry_after(text: str | None, *, now: datetime) -> timedelta | None:
    """How long a Retry-After asks to wait, in seconds or as a date; None for garbage, at most an hour."""
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return min(timedelta(seconds=int(text[:9])), MAX_RETRY_AFTER)
    date = parse_http_date(text)
    return min(max(date - now, timedelta()), MAX_RETRY_AFTER) if date else None


def _trust(environ: Mapping[str, str]) -> ssl.SSLContext:
    """The CAs that OpenSSL's variables name, or those of requests and curl, or certifi's."""
    file = next((environ[name] for name in _CA_VARIABLES if environ.get(name)), None)
    folder = environ.get("SSL_CERT_DIR")
    if file is not None and os.path.isdir(file):  # noqa: PTH112 - requests takes a folder here too
        file, folder = None, file
    try:
        if file or folder:
            return ssl.create_default_context(cafile=file, capath=folder)
        return ssl.create_default_context(cafile=certifi.where())
    except (OSError, ssl.SSLError):
        name = next((name for name in (*_CA_VARIABLES, "SSL_CERT_DIR") if environ.get(name)), "SSL_CERT_FILE")
        raise FatalError(
            f"the CA certificates named by {name} cannot be read", hint=f"point {name} at a PEM file, or unset it"
        ) from None


def _reason(error: BaseException) -> str:
    """Why no answer came, from the system's own words where there are some; never a URL or a body."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, TimeoutError):
            break
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) if isinstance(error, _TooLargeError) else type(error).__name__
