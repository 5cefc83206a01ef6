"""A page that is served on loopback, and a browser that asks for it."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from poller.adapters.segment.encoding import MessageEncoder
from poller.core.events import parse_events
from poller.core.forward import Forwarded
from poller.core.log_ids import EARLIEST
from poller.core.messages import Delivery, Receipt, Refusal
from poller.core.pages import Page
from poller.core.settlement import build_settlement
from poller.core.spans import LogCursor, Span
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator
from poller.service.observability.http_endpoint import Query, Response, health_response, listen
from poller.service.observability.meter import Meter
from poller.service.page.access import Access
from poller.service.page.numbers import Numbers
from poller.service.page.parts import Action, ManyParts, PageParts, Target
from poller.service.page.server import PageServer
from poller.service.watching.feed import Feed
from tests.builders import calls_of_page
from tests.fakes import NOW, STREAM, numbered

TOKEN = "t" * 32
PATIENCE_S = 120.0
BLOCKED = {
    "pipeline": "blocked",
    "state": "blocked",
    "code": 78,
    "error": "auth0-token-refused",
    "text": "<b>refused</b>",
    "hint": "look by `check`",
    "figures": ["freshness 3 h"],
}
WELL = {
    "pipeline": "well",
    "state": "running",
    "code": 0,
    "error": None,
    "text": None,
    "hint": None,
    "figures": [],
}
"""Two lines of the page of many pipelines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True, kw_only=True)
class Browser:
    """A browser with one cookie. It follows no redirect."""

    port: int
    cookie: str = ""

    def ask(self, path: str, method: str = "GET", body: str = "", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            named.setdefault("Cookie", self.cookie)
        with closing(self._connection()) as connection:
            connection.request(method, path, body or None, named)
            answer = connection.getresponse()
            return Answer(status=answer.status, headers=answer.headers, body=answer.read())

    def sign_in(self, token: str = TOKEN) -> "Browser":
        cookie = self.ask(f"/?token={token}").headers["Set-Cookie"]
        self.cookie = cookie.split(";")[0]
        return self

    @contextmanager
    def stream(self, path: str = "/stream", **headers: str) -> Iterator[Iterator[tuple[str, Any]]]:
        """Yield the names and the data of server-sent events as they come."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(self._connection()) as connection:
            connection.request("GET", path, headers={"Cookie": self.cookie, **named})
            with connection.getresponse() as answer:
                assert answer.status == 200
                yield _events(answer)

    def stream_status(self) -> int:
        """Return the status of a stream that is left at once."""
        with closing(self._connection()) as connection:
            connection.request("GET", "/stream", headers={"Cookie": self.cookie})
            with connection.getresponse() as answer:
                return answer.status

    def send(self, text: str, *, buffer_bytes: int = 0) -> socket.socket:
        """Send text over a connection of its own, which the caller closes."""
        connection = socket.socket()
        if buffer_bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        connection.settimeout(PATIENCE_S)
        connection.connect(("127.0.0.1", self.port))
        connection.sendall(text.encode())
        return connection

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)


def is_cut(connection: socket.socket) -> bool:
    """Read to the end of a connection. Return True when the other side has ended it."""
    with suppress(ConnectionError):
        while connection.recv(1_000_000):
            pass
    return True


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in iter(answer.readline, b""):
        key, _, value = line.decode().rstrip("\n").partition(": ")
        if key == "event":
            name = value
        elif key == "data":
            yield name, json.loads(value)


class FakeLetters:
    """Dead letters of one reason. It keeps the actions that it was told."""

    def __init__(self, *log_ids: str) -> None:
        self.left = [*log_ids]
        self.acted: list[tuple[str, str, str]] = []
        self.fails: Exception | None = None

    def reasons(self) -> dict[str, int]:
        return {"no_user_id": len(self.left)} if self.left else {}

    def page(self, *, after: str, reason: str) -> list[dict[str, Any]]:
        assert reason in {"", "no_user_id"}
        return [{"log_id": each} for each in self.left if each > after]

    def detail(self, log_id: str) -> dict[str, Any] | None:
        return {"log_id": log_id} if log_id in self.left else None

    def act(self, action: Action, target: Target) -> dict[str, Any]:
        if self.fails is not None:
            raise self.fails
        self.acted.append((action, target.log_id, target.reason))
        return {f"{action}ed": 1}


@contextmanager
def served(feed: Feed, *, show: str = "sent", port: int = 0, **parts: Any) -> Iterator[Browser]:
    """Serve the page on a free port, or on this one. Yield a browser that is not signed in."""
    listening = listen("127.0.0.1", port)
    port = listening.getsockname()[1]
    with _served(parts_of(feed, show, **parts), port, listening) as browser:
        yield browser


@contextmanager
def served_many(
    find: Callable[[str], PageParts | None], state: dict[str, Any]
) -> Iterator[Browser]:
    """Serve the page of many pipelines. Each is ready whose name begins with a `w`."""
    listening = listen("127.0.0.1", 0)

    def ready(query: Query) -> Response:
        return health_response(None if query["pipeline"].startswith("w") else "it is late")

    parts = ManyParts(find=find, state=lambda: state, ready=ready)
    with _served(parts, listening.getsockname()[1], listening) as browser:
        yield browser


def parts_of(feed: Feed, show: str = "sent", **parts: Any) -> PageParts:
    return PageParts(
        feed=feed,
        show=show,
        encode=MessageEncoder().encode,
        **{
            "state": lambda: {"problem": None},
            "dead_letters": FakeLetters(),
            "numbers": Numbers(Meter()),
            **parts,
        },
    )


@contextmanager
def _served(parts: PageParts | ManyParts, port: int, listening: socket.socket) -> Iterator[Browser]:
    access = Access(token=TOKEN, port=port, is_loopback=True)
    server = PageServer.open(listening, parts, access)
    try:
        yield Browser(port=port)
    finally:
        server.close()


def settled(
    *records: Mapping[str, Any],
    rules: Rules | None = None,
    cursor: LogCursor | None = None,
    is_refused: bool = False,
) -> Forwarded:
    """Return a settled page of these records."""
    events = parse_events(
        [{"log_id": numbered(number), **record} for number, record in enumerate(records, 1)],
        after=EARLIEST,
    )
    page = Page(events=events, position=numbered(len(events)), is_end=True, served_at=NOW)
    span = cursor or replace(Span.unsettled(STREAM, after=EARLIEST, until=None), id=1)
    calls = calls_of_page(LiveTranslator(STREAM, rules or Rules()), page, {})
    if is_refused:
        refusals = tuple(Refusal(message=message, status=400) for message in calls.messages)
        delivery = Delivery(refusals=refusals)
    else:
        ids = tuple(message.message_id for message in calls.messages)
        delivery = Delivery(receipts=(Receipt(message_ids=ids),))
    settlement = build_settlement(span, page, calls, delivery)
    return Forwarded(cursor=span, settlement=settlement, calls=calls)


def login(user: str = "auth0|ada", **values: Any) -> dict[str, Any]:
    """Return the record of a login, with personal data in it."""
    return {
        "type": "s",
        "date": "2026-11-20T11:59:58.000Z",
        "user_id": user,
        "user_name": "ada@example.com",
        "client_name": "Shop",
        "connection": "Users",
        "ip": "203.0.113.9",
        **values,
    }
