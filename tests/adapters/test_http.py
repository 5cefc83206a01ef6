"""Deadlines, redirects, and what a failed call leaves behind."""

import gzip
import resource
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from poller.adapters import bodies
from poller.adapters.clocks import ServerClock
from poller.adapters.deadlines import Deadlines
from poller.adapters.http import Answer, Http
from poller.core.errors import TransientError, UnknownHostError, UnusableAnswerError
from tests.scripted import Reply, Scripted, read_request, silent_port

Serve = Callable[[Callable[[socket.socket], None]], str]
PATIENCE_S = 60.0
OK = b"HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def http(serve: Serve) -> Iterator[Callable[..., Http]]:
    made: list[Http] = []

    def make(handle: Callable[[socket.socket], None], deadline_s: float = PATIENCE_S) -> Http:
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
    client = http(
        lambda connection: drip(connection, head, drop) if drop else silent(connection, head), 0.3
    )
    before = time.monotonic()
    with pytest.raises(TransientError, match="no answer in time"):
        client.call("GET", "/")
    assert time.monotonic() - before < PATIENCE_S  # a limit of each read alone never ends it


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


@pytest.mark.parametrize("way", ["closed", "announced", "rested"])
def test_a_connection_that_ended_between_two_calls_is_not_used_again(
    http: Callable[..., Http], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "rested":
        monkeypatch.setattr("poller.adapters.connection._KEPT_S", -1.0)
    is_closed, connections = threading.Event(), []

    def handle(connection: socket.socket) -> None:
        connections.append(connection)
        read_request(connection)
        announced = b"\r\nConnection: close\r\n\r\n"
        connection.sendall(OK.replace(b"\r\n\r\n", announced) if way == "announced" else OK)
        if way == "closed":
            connection.close()
            is_closed.set()
        else:
            connection.recv(1)  # until the other side closes

    client = http(handle)
    assert client.call("POST", "/", content=b"one").status == 200
    assert way != "closed" or is_closed.wait(PATIENCE_S)
    assert client.call("POST", "/", content=b"two").status == 200
    assert len(connections) == 2


def test_a_redirect_is_an_answer_and_is_never_followed(
    http: Callable[..., Http], serve: Serve
) -> None:
    reached = threading.Event()
    second = serve(lambda _: reached.set())

    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(
            b"HTTP/1.1 307 Go\r\nLocation: " + second.encode() + b"/x\r\nContent-Length: 0\r\n\r\n"
        )

    assert http(handle).call("POST", "/", content=b"secret").status == 307
    assert not reached.is_set()


def test_the_servers_clock_is_learnt_from_its_answers(serve: Serve) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK)

    ticks = [100.0]
    date = datetime(2026, 11, 23, 10, tzinfo=UTC)
    clock = ServerClock(monotonic=lambda: ticks[-1], host=lambda: date + timedelta(minutes=1))
    client = Http(serve(handle), clock)
    answer = client.call("GET", "/")
    client.close()
    assert (answer.at, answer.believed_at, answer.date) == (date, date, date)
    ticks.append(107.0)
    assert clock.now() == date + timedelta(seconds=7)


def answered(serve: Serve, clock: ServerClock, *headers: str) -> Answer:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        head = "".join(f"{header}\r\n" for header in headers)
        connection.sendall(f"HTTP/1.1 200 OK\r\n{head}Content-Length: 2\r\n\r\n{{}}".encode())

    client = Http(serve(handle), clock)
    answer = client.call("GET", "/")
    client.close()
    return answer


def test_a_date_that_no_other_clock_agrees_with_dates_nothing(serve: Serve) -> None:
    host = datetime(2026, 11, 24, 10, tzinfo=UTC)
    answer = answered(serve, ServerClock(host=lambda: host), "Date: Mon, 23 Nov 2026 10:00:00 GMT")
    assert (answer.at, answer.believed_at, answer.date) == (host, None, host - timedelta(days=1))


def test_an_answer_that_a_cache_kept_tells_no_time(serve: Serve) -> None:
    host = datetime(2026, 11, 23, 10, 1, tzinfo=UTC)
    answer = answered(
        serve, ServerClock(host=lambda: host), "Date: Mon, 23 Nov 2026 10:00:00 GMT", "Age: 60"
    )
    assert (answer.at, answer.believed_at, answer.date) == (host, None, None)


def test_a_time_to_wait_until_is_held_against_the_servers_own_clock(serve: Serve) -> None:
    host = datetime(2026, 11, 24, 10, tzinfo=UTC)
    after = "Retry-After: Mon, 23 Nov 2026 10:00:07 GMT"
    answer = answered(
        serve, ServerClock(host=lambda: host), "Date: Mon, 23 Nov 2026 10:00:00 GMT", after
    )
    assert answer.retry_after == timedelta(seconds=7)


def test_a_refused_connection_says_so_and_names_the_origin() -> None:
    with silent_port() as port:
        origin = f"http://127.0.0.1:{port}"
        client = Http(origin, ServerClock())
        with pytest.raises(TransientError, match=f"{origin}: Connection refused"):
            client.call("GET", "/")
        client.close()


def test_each_call_is_told_with_its_path_its_status_and_its_time(
    scripted: Scripted, serve: Serve
) -> None:
    told: list[tuple[str, int | None]] = []

    def observe(path: str, status: int | None, seconds: float) -> None:
        assert 0 <= seconds < PATIENCE_S
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
    with silent_port() as port:
        origin = f"http://127.0.0.1:{port}"
        client = Http(origin, ServerClock(), on_step=lambda: steps.append("step"))
        with pytest.raises(TransientError):
            client.call("GET", "/")
    assert steps[3:] == ["step", "step"]


def test_a_path_and_a_query_are_encoded_once(scripted: Scripted) -> None:
    client = Http(scripted.origin, ServerClock())
    client.call("GET", "/é/auth0%7C1", params={"q": 'user_id:"a|b"+é %7C'})
    client.call("GET", "/x?é=%C3%A9")
    client.close()
    assert [asked.path for asked in scripted.asked] == ["/%C3%A9/auth0%7C1", "/x"]
    assert scripted.asked[0].query == {"q": 'user_id:"a|b"+é %7C'}
    assert scripted.asked[1].query == {"é": "é"}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ],
    ids=["nothing", "length", "chunks", "TLS"],
)
def test_an_answer_that_breaks_off_is_none_and_is_named(serve: Serve, answer: bytes) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer)

    client = Http(serve(handle), ServerClock())
    with pytest.raises(TransientError, match="the answer breaks off, or is no HTTP"):
        client.call("GET", "/")
    client.close()


@pytest.mark.parametrize("path", ["/hooks;v=1/a;b", "/a;b?c=d;e", "/a//b;", "/"])
def test_a_path_is_asked_for_as_a_whole(scripted: Scripted, path: str) -> None:
    client = Http(scripted.origin, ServerClock())
    client.call("GET", path)
    client.close()
    assert scripted.asked[0].target == path


def test_headers_are_found_in_small_letters_and_repeated_ones_become_a_list(serve: Serve) -> None:
    def handle(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(OK.replace(b"\r\n\r\n", b"\r\nLink: <a>\r\nLINK: <b>\r\n\r\n"))

    client = Http(serve(handle), ServerClock())
    assert client.call("GET", "/").headers["link"] == "<a>, <b>"
    client.close()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip, gzip", gzip.compress(gzip.compress(b"[]"))),
        ("br", b"x"),
        ("deflate", b"x"),
        ("gzip", b"no gzip"),
        ("gzip", gzip.compress(b"[1, 2]")[:-9]),
    ],
    ids=["gzip in gzip", "br", "deflate", "no gzip", "cut"],
)
def test_a_body_in_a_form_that_was_not_asked_for_is_unusable(
    scripted: Scripted, encoding: str, body: bytes
) -> None:
    scripted.replies = [Reply(body=body, headers={"Content-Encoding": encoding})]
    client = Http(scripted.origin, ServerClock(), service="Auth0")
    with pytest.raises(UnusableAnswerError) as raised:
        client.call("GET", "/")
    client.close()
    assert raised.value.service == "Auth0"


def test_gzip_is_the_one_form_that_is_asked_for_and_it_is_inflated(scripted: Scripted) -> None:
    scripted.replies = [
        Reply(body=gzip.compress(b"[1]"), headers={"Content-Encoding": "GZIP, identity"})
    ]
    client = Http(scripted.origin, ServerClock())
    assert client.call("GET", "/").json() == [1]
    client.close()
    assert scripted.asked[0].headers["Accept-Encoding"] == "gzip"


def test_a_small_answer_that_inflates_to_much_is_given_up_in_bounded_memory(
    scripted: Scripted,
) -> None:
    packer, megabyte = zlib.compressobj(1, wbits=31), bytes(1024 * 1024)
    bomb = b"".join([packer.compress(megabyte) for _ in range(150)] + [packer.flush()])
    scripted.replies = [Reply(body=bomb, headers={"Content-Encoding": "gzip"})]
    client = Http(scripted.origin, ServerClock())
    tracemalloc.start()
    try:
        with pytest.raises(UnusableAnswerError, match="too large"):
            client.call("GET", "/")
        assert tracemalloc.get_traced_memory()[1] < 3 * bodies.MAX_BODY_BYTES
    finally:
        tracemalloc.stop()
        client.close()


def test_a_body_beyond_the_bound_is_given_up_while_it_is_read(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MAX_BODY_BYTES", 1000)
    scripted.replies = [Reply(body=b"x" * 1000), Reply(body=b"x" * 1001)]
    client = Http(scripted.origin, ServerClock())
    assert len(client.call("GET", "/").body) == 1000
    with pytest.raises(UnusableAnswerError, match="too large"):
        client.call("GET", "/")
    client.close()


def test_no_room_for_a_thread_is_trouble_that_passes(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    client = Http(scripted.origin, ServerClock(), deadlines=Deadlines())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(TransientError, match="this machine cannot call"):
            client.call("GET", "/")
    assert client.call("GET", "/").status == 200
    client.close()


def test_no_file_descriptors_are_trouble_that_passes_and_that_is_this_machines(
    scripted: Scripted,
) -> None:
    client = Http(scripted.origin, ServerClock())
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    first = Http(scripted.origin, ServerClock())
    first.call("GET", "/")  # it loads the certificates
    first.close()
    with socket.socket() as lowest:
        used = lowest.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, before[1]))
    try:
        with pytest.raises(
            TransientError, match=r"this machine cannot call .*: Too many open files"
        ):
            client.call("GET", "/")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert client.call("GET", "/").status == 200
    client.close()


def test_no_memory_is_trouble_that_passes(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise MemoryError

    client = Http(scripted.origin, ServerClock())
    with monkeypatch.context() as patched:
        patched.setattr("poller.adapters.connection.read_body", fail)
        with pytest.raises(TransientError, match=r"this machine cannot call .*: out of memory"):
            client.call("GET", "/")
    assert client.call("GET", "/").status == 200
    client.close()


@pytest.mark.parametrize(
    ("code", "kind"), [(socket.EAI_NONAME, UnknownHostError), (socket.EAI_AGAIN, TransientError)]
)
def test_a_name_that_no_server_knows_is_told_from_a_resolver_that_is_down(
    monkeypatch: pytest.MonkeyPatch, code: int, kind: type[TransientError]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "as the resolver says it")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    http = Http("https://acme.us.auht0.com", ServerClock())
    try:
        with pytest.raises(TransientError, match="as the resolver says it") as caught:
            http.call("GET", "/")
    finally:
        http.close()
    assert type(caught.value) is kind


def test_calls_one_after_the_other_share_a_connection_whatever_threads_make_them(
    scripted: Scripted,
) -> None:
    client = Http(scripted.origin, ServerClock())
    for _ in range(3):
        thread = threading.Thread(target=client.call, args=("GET", "/"))
        thread.start()
        thread.join()
    assert len(client._connections) == 1
    client.close()
