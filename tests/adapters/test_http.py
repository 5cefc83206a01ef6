"""Deadlines, redirects, and what a failed call leaves behind."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from poller.adapters.http import Http, ServerClock, parse_retry_after
from poller.core.errors import FatalError, TransientError
from tests.conftest import Reply, Scripted

Serve = Callable[[Callable[[socket.socket], None]], str]
OK = b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Length: 2\r\n\r\n{}"


def read_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            raise OSError("closed")
        received += chunk
    return received


@pytest.fixture
def http(serve: Serve) -> Iterator[Callable[..., Http]]:
    made: list[Http] = []

    def make(handle: Callable[[socket.socket], None], deadline_s: float = 5.0) -> Http:
        made.append(Http(serve(handle), ServerClock(), deadline_s=deadline_s))
        return made[-1]

    yield make
    for client in made:
        client.close()


def drip(connection: socket.socket, head: bytes, drop: bytes) -> None:
    read_request(connection)
    connection.sendall(head)
    while True:
        connection.sendall(drop)
        time.sleep(0.02)  # the fault itself, not a wait for anything


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b""),
    ],
    ids=["body", "headers", "nothing"],
)
def test_a_dripping_or_silent_server_does_not_outlive_the_deadline(
    http: Callable[..., Http], head: bytes, drop: bytes
) -> None:
    client = http(lambda connection: drip(connection, head, drop) if drop else silent(connection, head), 0.3)
    before = time.monotonic()
    with pytest.raises(TransientError, match="no answer in time"):
        client.call("GET", "/")
    assert time.monotonic() - before < 5


def silent(connection: socket.socket, head: bytes) -> None:
    read_request(connection)
    connection.sendall(head)
    connection.recv(1)  # until the other side gives up


def test_calls_share_a_connection_and_a_failure_drops_it(http: Callable[..., Http]) -> None:
    connections = []

    def handle(connection: socket.socket) -> None:
        connections.append(connection)
        for _ in range(2):
            read_request(connection)
            connection.sendall(OK)
        read_request(connection)
        connection.close()

    client = http(handle)
    assert [client.call("GET", "/").status for _ in range(2)] == [200, 200]
    assert len(connections) == 1
    with pytest.raises(TransientError):
        client.call("GET", "/")
    assert client.call("GET", "/").status == 200
    assert len(connections) == 2


def test_a_redirect_is_an_answer_and_is_never_followed(http: Callable[..., Http], serve: Serve) -> None:
    reached = threading.Event()
    second = serve(lambda _: reached.set())

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 307 Go\r\nLocation: " + second.encode() + b"/x\r\nContent-Length: 0\r\n\r\n")

    assert http(handle).call("POST", "/", content=b"secret").status == 307
    assert not reached.is_set()


def test_the_servers_clock_is_learnt_from_its_answers(serve: Serve) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)

    ticks = iter([100.0, 107.0])
    clock = ServerClock(monotonic=lambda: next(ticks))
    client = Http(serve(handle), clock)
    answer = client.call("GET", "/")
    client.close()
    assert answer.at == datetime(2026, 11, 23, 10, tzinfo=UTC)
    assert clock.now() == datetime(2026, 11, 23, 10, 0, 7, tzinfo=UTC)


def test_a_refused_connection_says_so_and_names_the_origin() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    client = Http(origin, ServerClock())
    with pytest.raises(TransientError, match=f"{origin}: Connection refused"):
        client.call("GET", "/")
    client.close()


def test_a_certificate_file_that_cannot_be_read_is_fatal_and_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/does/not/exist.pem")
    with pytest.raises(FatalError, match="SSL_CERT_FILE"):
        Http("http://127.0.0.1:9", ServerClock()).call("GET", "/")


NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", timedelta(seconds=7)),
        ("0", timedelta()),
        ("Mon, 23 Nov 2026 10:00:30 GMT", timedelta(seconds=30)),
        ("Mon, 23 Nov 2026 09:00:00 GMT", timedelta()),
        ("99999999999", timedelta(hours=1)),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date_and_garbage_is_none(
    text: str | None, expected: timedelta | None
) -> None:
    assert parse_retry_after(text, now=NOW) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1"),
        ("HTTPS_PROXY", "http://proxy:abc"),
        ("HTTP_PROXY", "foo://proxy"),
        ("NO_PROXY", "fe80::/10"),
    ],
)
def test_a_proxy_variable_that_cannot_be_used_is_fatal_and_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    http = Http("http://127.0.0.1:1", ServerClock())
    with pytest.raises(FatalError, match="proxy variables") as raised:
        http.call("GET", "/")
    assert name in raised.value.hint


def test_each_call_is_told_with_its_path_its_status_and_its_time(scripted: Scripted, serve: Serve) -> None:
    told: list[tuple[str, int | None]] = []

    def observe(path: str, status: int | None, seconds: float) -> None:
        assert 0 <= seconds < 5
        told.append((path, status))

    scripted.replies = [Reply(status=503)]
    http = Http(scripted.origin, ServerClock(), observe=observe)
    http.call("GET", "/a", params={"q": "x"})
    http.close()
    cut = Http(serve(lambda connection: None), ServerClock(), observe=observe)
    with pytest.raises(TransientError):
        cut.call("GET", "/b")
    cut.close()
    assert told == [("/a", 503), ("/b", None)]


def test_a_call_is_told_of_before_and_after_also_where_it_fails(serve: Serve) -> None:
    steps: list[str] = []

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        steps.append("call")
        connection.sendall(OK)

    client = Http(serve(handle), ServerClock(), on_step=lambda: steps.append("step"))
    client.call("GET", "/")
    client.close()
    assert steps == ["step", "call", "step"]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        origin = f"http://127.0.0.1:{taken.getsockname()[1]}"
    client = Http(origin, ServerClock(), on_step=lambda: steps.append("step"))
    with pytest.raises(TransientError):
        client.call("GET", "/")
    assert steps[3:] == ["step", "step"]
