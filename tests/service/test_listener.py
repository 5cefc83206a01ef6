"""The listener answers, and nobody who asks can hurt the daemon."""

import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import timedelta
from http import HTTPStatus

import pytest
import structlog
from structlog.testing import capture_logs

from poller.core.errors import FatalError
from poller.service import listener as module
from poller.service.health import Health
from poller.service.listener import MOST_CLIENTS, Listener, Page, routes_of, verdict
from poller.service.meter import Meter
from poller.service.pulse import SILENCE_S, Pulse
from tests.fakes import NOW

Open = Callable[..., int]


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    structlog.reset_defaults()
    with capture_logs() as captured:
        yield captured


@pytest.fixture
def serve(logs: list[dict[str, object]]) -> Iterator[Open]:  # noqa: ARG001 - kept out of the output
    """Opens a listener; gives its port."""
    with ExitStack() as stack:

        def start(routes: module.Routes | None = None, host: str = "127.0.0.1") -> int:
            opened = Listener.open(host, 0, routes or {"/healthz": lambda: Page(body=b"ok\n")})
            stack.callback(opened.close)
            return opened._server.server_port

        yield start


def ask(port: int, path: str = "/healthz", method: str = "GET", host: str = "127.0.0.1") -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(host, port, timeout=5)) as connection:
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


def test_it_names_no_version_of_python(serve: Open) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", serve(), timeout=5)) as connection:
        connection.request("GET", "/healthz")
        assert "Python" not in str(connection.getresponse().headers)


def test_a_bug_in_a_page_is_500_and_one_line(serve: Open, logs: list[dict[str, object]]) -> None:
    def fail() -> Page:
        raise KeyError("auth0|1")

    assert ask(serve({"/metrics": fail}), "/metrics") == (500, b"it failed\n")
    (line,) = [line for line in logs if line["event"] == "metrics.failed"]
    assert line == {"event": "metrics.failed", "log_level": "warning", "error": "KeyError"}


def test_requests_and_clients_that_go_away_leave_no_line(
    serve: Open, logs: list[dict[str, object]], capfd: pytest.CaptureFixture[str]
) -> None:
    port = serve()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert ask(port)[0] == 200
    assert [line["event"] for line in logs] == ["metrics.listening"]
    assert capfd.readouterr().err == ""


def test_slow_clients_take_no_more_than_their_threads_and_are_cut_off(
    serve: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DEADLINE_S", 0.5)
    before = threading.active_count()
    port = serve()
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            for _ in range(3 * MOST_CLIENTS)
        ]
        for client in clients:
            client.sendall(b"GET /hea")
        # Those above the bound are turned away, the others when their time is over.
        assert threading.active_count() <= before + 1 + 2 * MOST_CLIENTS
        for client in clients:
            with suppress(ConnectionResetError):
                assert client.recv(1) == b""
    assert ask(port)[0] == 200


def test_a_client_that_drips_is_cut_off(serve: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEADLINE_S", 0.3)
    port = serve()
    with socket.create_connection(("127.0.0.1", port), timeout=0.05) as client:
        for _ in range(100):
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


def test_an_address_that_others_reach_is_warned_of_once(serve: Open, logs: list[dict[str, object]]) -> None:
    serve(host="0.0.0.0")  # noqa: S104 - what is warned of
    assert [line["event"] for line in logs] == ["metrics.listening", "metrics.exposed"]


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_it_listens_on_ipv6_too(serve: Open, logs: list[dict[str, object]]) -> None:
    try:
        port = serve(host="::1")
    except FatalError:
        pytest.skip("no IPv6 loopback here")
    assert ask(port, host="::1")[0] == 200
    assert logs[0]["address"] == f"[::1]:{port}"


def test_it_keeps_no_process_alive() -> None:
    program = "from poller.service.listener import Listener\nListener.open('127.0.0.1', 0, {})"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20, capture_output=True)


@pytest.mark.usefixtures("logs")
def test_a_closed_listener_frees_its_address() -> None:
    first = Listener.open("127.0.0.1", 0, {"/healthz": lambda: Page(body=b"1")})
    port = first._server.server_port
    assert ask(port) == (200, b"1")
    first.close()
    second = Listener.open("127.0.0.1", port, {"/healthz": lambda: Page(body=b"2")})
    assert ask(port) == (200, b"2")
    second.close()


# Health


class Bench:
    def __init__(self) -> None:
        self.seconds = 0.0
        self.pulse = Pulse(lambda: self.seconds)
        self.meter = Meter(monotonic=lambda: self.seconds, now=lambda: NOW + timedelta(seconds=self.seconds))
        self.health = Health(self.meter, self.pulse, ready_lag=timedelta(minutes=10))


def test_alive_is_a_loop_that_is_heard_of_in_time_even_if_it_has_nothing_to_do() -> None:
    bench = Bench()
    bench.seconds = 86_400  # before the first cycle nothing is expected
    assert bench.health.not_alive() is None
    bench.pulse.rest(3600)
    bench.seconds += 3600 + SILENCE_S
    assert bench.health.not_alive() is None
    bench.seconds += 1
    assert "hangs" in (bench.health.not_alive() or "")
    bench.pulse.beat()
    assert bench.health.not_alive() is None


def test_ready_is_not_blocked_and_not_late() -> None:
    bench = Bench()
    assert bench.health.not_ready() == "nothing was read yet"
    bench.meter._swap(caught_up_at=NOW)
    assert bench.health.not_ready() is None
    bench.seconds = 601
    assert bench.health.not_ready() == "the lag is 601 s, above 600 s"
    bench.meter._swap(caught_up_at=NOW + timedelta(seconds=600))
    assert bench.health.not_ready() is None
    bench.meter.blocked(is_blocked=True)
    assert "blocked" in (bench.health.not_ready() or "")


def test_what_is_wrong_is_503() -> None:
    meter = Meter()
    routes = routes_of(meter, Health(meter, Pulse(), ready_lag=timedelta(minutes=1)), "1")
    assert routes["/healthz"]().status == HTTPStatus.OK
    assert routes["/readyz"]() == verdict("nothing was read yet")
    assert routes["/readyz"]().status == HTTPStatus.SERVICE_UNAVAILABLE
    assert b"build_info" in routes["/metrics"]().body
