"""The listener answers, and no request can hurt the daemon."""

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import datetime, timedelta
from http import HTTPStatus

import pytest
import structlog
from structlog.testing import capture_logs

from poller.core.errors import FatalError
from poller.core.log_ids import EARLIEST
from poller.core.spans import Span
from poller.service.lifecycle.liveness import SILENCE_S, Heartbeat
from poller.service.observability import connections
from poller.service.observability import http_endpoint as module
from poller.service.observability.http_endpoint import (
    Health,
    Listener,
    Query,
    Response,
    health_response,
    routes_of,
)
from poller.service.observability.meter import Meter
from tests.fakes import NOW, STREAM
from tests.scripted import silent_port

Open = Callable[..., int]
PATIENCE_S = 60.0
REQUEST_S = connections.REQUEST_S


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off no client of a slow machine, unless a test is about that."""
    monkeypatch.setattr(connections, "REQUEST_S", 600.0)
    monkeypatch.setattr(connections, "ANSWER_S", 600.0)


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    structlog.reset_defaults()
    with capture_logs() as captured:
        yield captured


@pytest.fixture
def serve(logs: list[dict[str, object]]) -> Iterator[Open]:  # noqa: ARG001 - kept out of the output
    """Open a listener and return its port."""
    with ExitStack() as stack:

        def start(routes: module.Routes | None = None, host: str = "127.0.0.1") -> int:
            opened = Listener.open(
                host, 0, routes or {"/healthz": lambda _: Response(body=b"ok\n")}
            )
            stack.callback(opened.close)
            return opened.port

        yield start


def ask(
    port: int, path: str = "/healthz", method: str = "GET", host: str = "127.0.0.1"
) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(host, port, timeout=PATIENCE_S)) as connection:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_get_and_head_are_answered_and_nothing_else(serve: Open) -> None:
    port = serve()
    assert ask(port) == (200, b"ok\n")
    assert ask(port, "/healthz?x=1") == (200, b"ok\n")
    assert ask(port, method="HEAD") == (200, b"")
    assert ask(port, "/")[0] == 404
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert ask(port, method=method)[0] == 405
    assert ask(port, method="BREW")[0] == 501


def test_the_endpoint_names_no_version_of_python(serve: Open) -> None:
    with closing(
        http.client.HTTPConnection("127.0.0.1", serve(), timeout=PATIENCE_S)
    ) as connection:
        connection.request("GET", "/healthz")
        assert "Python" not in str(connection.getresponse().headers)


def test_a_bug_in_a_page_is_a_500_and_one_log_line(
    serve: Open, logs: list[dict[str, object]]
) -> None:
    def fail(_: Query) -> Response:
        raise KeyError("auth0|1")

    assert ask(serve({"/metrics": fail}), "/metrics") == (500, b"it failed\n")
    (line,) = [line for line in logs if line["event"] == "metrics.failed"]
    assert line == {"event": "metrics.failed", "log_level": "warning", "error": "KeyError"}


def test_requests_and_lost_clients_are_not_logged(
    serve: Open, logs: list[dict[str, object]], capfd: pytest.CaptureFixture[str]
) -> None:
    port = serve()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert ask(port)[0] == 200
    assert [line["event"] for line in logs] == ["metrics.listening"]
    assert capfd.readouterr().err == ""


def connected(stack: ExitStack, port: int) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S))


def is_cut_off(client: socket.socket) -> bool:
    with suppress(ConnectionResetError):
        return client.recv(1) == b""
    return True


def test_an_answer_waits_for_none_of_200_slow_clients(serve: Open) -> None:
    port, before = serve(), threading.active_count()
    stopped = threading.Event()
    with ExitStack() as stack:
        clients = [connected(stack, port) for _ in range(200)]

        def drip() -> None:
            while not stopped.wait(0.05):
                for client in clients:
                    with suppress(OSError):
                        client.send(b"G")

        dripping = threading.Thread(target=drip)
        dripping.start()
        stack.callback(dripping.join)
        stack.callback(stopped.set)
        assert threading.active_count() <= before + 1  # the one that drips
        for _ in range(5):
            assert ask(port) == (200, b"ok\n")


def test_a_client_that_does_not_finish_its_request_in_time_is_cut_off(
    serve: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert REQUEST_S == 2.0
    monkeypatch.setattr(connections, "REQUEST_S", 0.3)
    port = serve()
    for begun in (
        b"",
        b"GET /healthz HTTP/1.1\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ",
    ):
        with ExitStack() as stack:
            client = connected(stack, port)
            client.sendall(begun)
            assert is_cut_off(client)


def test_a_client_that_sends_byte_by_byte_is_cut_off(
    serve: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.3)
    port = serve()
    with socket.create_connection(("127.0.0.1", port), timeout=0.05) as client:
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            try:
                client.sendall(b"G")
                if client.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("it was never cut off")


@pytest.mark.usefixtures("logs")
def test_a_client_that_takes_no_answer_is_cut_off_and_delays_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "ANSWER_S", 0.3)
    large = 64 * 1024 * 1024
    pages = {
        "/large": lambda _: Response(body=b"x" * large),
        "/healthz": lambda _: Response(body=b"ok\n"),
    }
    with closing(Listener.open("127.0.0.1", 0, pages)) as listener, ExitStack() as stack:
        client = connected(stack, listener.port)
        client.sendall(b"GET /large HTTP/1.0\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.0 200"
        while listener._connections._open:
            assert ask(listener.port)[0] == 200
        taken = 0
        with suppress(ConnectionResetError):
            while data := client.recv(1 << 20):
                taken += len(data)
        assert taken < large


def test_one_connection_too_many_closes_the_oldest(
    serve: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 10)
    port = serve()
    with ExitStack() as stack:
        clients = [connected(stack, port) for _ in range(10)]
        assert ask(port)[0] == 200
        assert is_cut_off(clients[0])
        clients[9].sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert clients[9].recv(12) == b"HTTP/1.0 200"


def test_a_request_without_end_is_cut_off_by_its_length(serve: Open) -> None:
    with ExitStack() as stack:
        client = connected(stack, serve())
        with suppress(ConnectionError):
            client.sendall(b"GET /" + b"x" * 100_000)
        assert is_cut_off(client)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9464", 200),
        ("localhost", 200),
        ("LocalHost:1", 200),
        ("[::1]:9464", 200),
        ("127.8.9.1", 200),
        ("attacker.example", 421),
        ("attacker.example:9464", 421),
        ("localhost.attacker.example", 421),
        ("127.0.0.1.attacker.example", 421),
        ("127.0.0.1@attacker.example", 421),
        ("192.0.2.1", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_on_loopback_only_a_loopback_host_is_answered(serve: Open, host: str, status: int) -> None:
    asked = {"secret": 0}

    def page(_: Query) -> Response:
        asked["secret"] += 1
        return Response(body=b"ok\n")

    request = f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    with ExitStack() as stack:
        client = connected(stack, serve({"/metrics": page}))
        client.sendall(request)
        assert client.recv(12) == f"HTTP/1.0 {status}".encode()
    assert asked["secret"] == (status == 200)


@pytest.mark.parametrize("hosts", [b"", b"Host: localhost\r\nHost: attacker.example\r\n"])
def test_a_request_of_http_1_1_names_its_host_once(serve: Open, hosts: bytes) -> None:
    with ExitStack() as stack:
        client = connected(stack, serve())
        client.sendall(b"GET /healthz HTTP/1.1\r\n" + hosts + b"\r\n")
        assert client.recv(12) == b"HTTP/1.0 421"


def test_an_address_that_others_reach_answers_to_any_host(serve: Open) -> None:
    with ExitStack() as stack:
        client = connected(stack, serve(host="0.0.0.0"))  # noqa: S104 - what others reach
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: metrics.example\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.0 200"


def test_an_address_that_is_taken_is_fatal_and_says_what_to_type(serve: Open) -> None:
    port = serve()
    with pytest.raises(FatalError) as caught:
        Listener.open("127.0.0.1", port, {})
    assert f"cannot listen on 127.0.0.1:{port}" in str(caught.value)
    assert "ss -ltnp" in caught.value.hint


def test_an_address_of_another_machine_is_fatal(logs: list[dict[str, object]]) -> None:
    with pytest.raises(FatalError) as caught:
        Listener.open("192.0.2.1", 0, {})
    assert "address of this machine" in caught.value.hint
    assert logs == []


def test_an_address_that_others_reach_is_one_warning(
    serve: Open, logs: list[dict[str, object]]
) -> None:
    serve(host="0.0.0.0")  # noqa: S104 - what is warned of
    assert [line["event"] for line in logs] == ["metrics.listening", "metrics.exposed"]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_the_endpoint_listens_on_ipv6_too(serve: Open, logs: list[dict[str, object]]) -> None:
    try:
        port = serve(host="::1")
    except FatalError:
        pytest.skip("no IPv6 loopback here")
    assert ask(port, host="::1")[0] == 200
    assert logs[0]["address"] == f"[::1]:{port}"


@pytest.mark.process
def test_a_listener_keeps_no_process_alive() -> None:
    program = (
        "from poller.service.observability.http_endpoint import Listener\n"
        "Listener.open('127.0.0.1', 0, {})"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=PATIENCE_S, capture_output=True
    )


@pytest.mark.usefixtures("logs")
def test_a_closed_listener_frees_its_address() -> None:
    with silent_port() as port:
        for number in (b"1", b"2"):
            page = Response(body=number)
            listener = Listener.open("127.0.0.1", port, {"/healthz": lambda _, page=page: page})
            assert ask(port) == (200, number)
            listener.close()


# Health


class Bench:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.heartbeat = Heartbeat(lambda: self.seconds)
        self.meter = Meter(
            monotonic=lambda: self.seconds, now=lambda: NOW + timedelta(seconds=self.seconds)
        )
        self.health = Health(self.meter, self.heartbeat, ready_lag=timedelta(minutes=10))


def live_span(*, drained_at: datetime) -> Span:
    return Span(id=1, stream=STREAM, after=EARLIEST, reached=EARLIEST, drained_at=drained_at)


def test_a_loop_that_gives_a_sign_in_time_is_alive_even_if_it_rests() -> None:
    bench = Bench()
    bench.seconds = 86_400  # before the first cycle nothing is expected
    assert bench.health.liveness_problem() is None
    bench.heartbeat.rest(3600)
    bench.seconds += 3600 + SILENCE_S
    assert bench.health.liveness_problem() is None
    bench.seconds += 1
    assert "hangs" in (bench.health.liveness_problem() or "")
    bench.heartbeat.beat()
    assert bench.health.liveness_problem() is None


def test_a_daemon_that_is_blocked_or_late_is_not_ready() -> None:
    bench = Bench()
    assert bench.health.readiness_problem() == "nothing was read yet"
    bench.meter.start_at(live_span(drained_at=NOW))
    assert bench.health.readiness_problem() is None
    bench.seconds = 601
    assert bench.health.readiness_problem() == "the freshness is 601 s, above 600 s"
    bench.meter.start_at(live_span(drained_at=NOW + timedelta(seconds=600)))
    assert bench.health.readiness_problem() is None
    bench.meter.set_blocked(is_blocked=True)
    assert "blocked" in (bench.health.readiness_problem() or "")


def test_a_problem_is_a_503() -> None:
    meter = Meter()
    routes = routes_of(meter, Health(meter, Heartbeat(), ready_lag=timedelta(minutes=1)))
    assert routes["/healthz"]({}).status == HTTPStatus.OK
    assert routes["/readyz"]({}) == health_response("nothing was read yet")
    assert routes["/readyz"]({}).status == HTTPStatus.SERVICE_UNAVAILABLE
    assert b"build_info" in routes["/metrics"]({}).body


def test_a_listener_whose_thread_has_ended_can_be_closed() -> None:
    serving = connections.Connections(socket.create_server(("127.0.0.1", 0)), lambda head: b"")
    serving.close()
    serving.serve()
    serving.close()
