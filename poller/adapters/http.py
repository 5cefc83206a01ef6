"""The HTTP client of both vendors' adapters.

Its deadlines hold, it follows no redirect, and it keeps no connection after a failure.
"""

import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from poller.adapters.bodies import UnusableBodyError, parse_json, parse_json_of_any_depth
from poller.adapters.clocks import ServerClock
from poller.adapters.connection import FAILURES, Connection, is_unknown_host, trouble
from poller.adapters.deadlines import Deadlines
from poller.adapters.environment import trust
from poller.adapters.parsing import parse_http_date, parse_retry_after
from poller.core.errors import TransientError, UnknownHostError, UnusableAnswerError

if TYPE_CHECKING:
    import ssl

DEADLINE_S = 30.0
CONNECTION_LIFETIME_S = 3600.0
"""Segment asks to resolve its name anew at least daily (Segment docs: HTTP API)."""

_DEADLINES = Deadlines()
"""The deadlines of all clients of the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole response.

    - `headers` have their names in small letters.
    - `at` is the best known time: the server's if another clock agrees, else the host's.
    - `believed_at` is the server's own time of this answer, or None if no other clock agrees.
    - `date` is the server's own time, whether or not another clock agrees. Other times in the
      answer are compared with it.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    at: datetime
    believed_at: datetime | None = None
    date: datetime | None = None

    def json(self) -> Any:
        """Return the body as JSON.

        Raises:
            ValueError: the body is not JSON, has too many values, or is nested too deep.
        """
        return parse_json(self.body)

    def json_of_any_depth(self) -> Any:
        """Return the body as JSON, however deep it is nested. See `decode_of_any_depth`.

        Raises:
            ValueError: the body is not JSON, or has more values than any answer needs.
        """
        return parse_json_of_any_depth(self.body)

    @property
    def form(self) -> str:
        """The status and the media type for an error message, such as `403 text/html`."""
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_one = re.fullmatch(r"[a-z0-9.+-]{1,40}/[a-z0-9.+-]{1,60}", media_type)
        return f"{self.status} {media_type if is_one else 'without a media type'}"

    @property
    def json_object(self) -> dict[str, Any]:
        """The body if it is a JSON object, otherwise an empty object."""
        try:
            value = self.json()
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def retry_after(self) -> timedelta | None:
        return parse_retry_after(self.headers.get("retry-after"), now=self.date or self.at)


def answer_in_place_of(service: str, answer: Answer) -> str:
    """Say that a proxy, a portal or a firewall answered in place of the service."""
    return f"something between here and {service} answered: {answer.form}"


Observe = Callable[[str, int | None, float], None]
"""A function that is told of each call when it is over.

It gets the path, the status if a whole answer came, and the seconds.
"""


class Http:
    """A client of one service at one origin. Thread-safe.

    A call takes a connection that no other call uses, or opens one. So there are as many
    connections as there were calls at once, whatever threads made them.

    A call ends within `deadline_s`, whatever the server does. Only the resolution of its name has
    no deadline. The proxy and CA variables of the environment are honoured. Certificates are always
    verified.
    """

    def __init__(
        self,
        origin: str,
        clock: ServerClock,
        *,
        service: str = "",
        deadline_s: float = DEADLINE_S,
        observe: Observe = lambda path, status, seconds: None,  # noqa: ARG005 - nobody looks
        on_step: Callable[[], None] = lambda: None,
        deadlines: Deadlines = _DEADLINES,
    ) -> None:
        self._origin = origin
        self.clock = clock
        self._service = service
        self._deadline_s = deadline_s
        self._observe = observe
        self._on_step = on_step
        self._trust: ssl.SSLContext | None = None
        self._connections: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        self._deadlines = deadlines
        self.skew: timedelta | None = None
        """The time by which this host's clock was behind the server's at the last answer."""

    def call(self, method: str, path: str, **request: Any) -> Answer:
        """Make one attempt. `request` holds what `Connection.exchange` takes.

        Raises:
            TransientError: no whole answer came in time, or this machine is short of a resource.
            UnusableAnswerError: the answer is too large, or in an encoding that was not asked for.
            FatalError: the proxy variables or the CA certificates of the environment cannot be
                used.
        """
        self._on_step()
        began, status = time.monotonic(), None
        try:
            status, headers, body = self._exchange(method, path, **request)
        finally:
            self._observe(path, status, time.monotonic() - began)
            self._on_step()
        return self._answer(status, headers, body)

    def close(self) -> None:
        """Close every connection. A call that another thread has under way fails."""
        while self._connections:
            self._connections.pop().close()

    def _exchange(
        self, method: str, path: str, **request: Any
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = None
        try:
            connection = self._connection()
            with self._deadlines.within(self._deadline_s, connection.expire):
                answer = connection.exchange(method, path, **request)
            self._idle.append(connection)
            return answer  # noqa: TRY300 - nothing above raises after the exchange
        except UnusableBodyError as error:
            self._drop(connection)
            raise UnusableAnswerError(f"{self._origin}: {error}", service=self._service) from None
        except (*FAILURES, OSError, MemoryError) as error:
            self._drop(connection)
            kind = UnknownHostError if is_unknown_host(error) else TransientError
            raise kind(trouble(self._origin, connection, error), service=self._service) from None

    def _answer(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer:
        # A cache adds `Age` to an answer that it kept (RFC 9111, 5.1). Its `Date` is an old one.
        is_kept = "age" in headers
        date, believed_at = None if is_kept else parse_http_date(headers.get("date")), None
        if date is not None:
            believed_at = self.clock.observe(date)
            self.skew = date - datetime.now(UTC)
        at = believed_at or self.clock.now()
        return Answer(
            status=status, headers=headers, body=body, at=at, believed_at=believed_at, date=date
        )

    def _connection(self) -> Connection:
        """Return the connection that was used last, or a new one."""
        while self._idle:
            try:
                idle = self._idle.pop()
            except IndexError:  # another thread took it
                break
            if not idle.has_ended and idle.age_s <= CONNECTION_LIFETIME_S:
                return idle
            self._drop(idle)
        self._trust = self._trust or trust()
        opened = Connection.open(self._origin, self._trust)
        self._connections.add(opened)
        return opened

    def _drop(self, connection: Connection | None) -> None:
        if connection is not None:
            self._connections.discard(connection)
            connection.close()
