"""The messages to systemd, over a socket like its own, and the cases without any."""

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from poller.core.errors import FatalError, TransientError
from poller.service.lifecycle.cycles import CycleCount
from poller.service.lifecycle.liveness import SILENCE_S, Heartbeat
from poller.service.observability.systemd import Notifier, Supervisor
from tests.listener import Listener, listening

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def listener(address: str) -> Iterator[Listener]:
    with listening(address) as made:
        yield made


def test_a_message_is_one_datagram_of_lines(address: str, listener: Listener) -> None:
    Notifier(address).send(READY=1, STATUS="it\nis  well")
    assert listener.heard() == [{"READY": "1", "STATUS": "it is well"}]


def test_the_socket_may_be_abstract() -> None:
    address = f"@poller-{uuid.uuid4()}"
    with listening(address) as listener:
        Notifier(address).send(READY=1)
        assert listener.heard() == [{"READY": "1"}]


@pytest.mark.parametrize(
    "address", [None, "", "/nowhere/notify", "@", "vsock:2:1", "/" + "x" * 200]
)
def test_a_socket_that_is_not_there_stops_nothing(address: str | None) -> None:
    Notifier(address).send(READY=1)


def test_a_manager_that_reads_nothing_stops_nothing(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poller.service.observability.systemd._SEND_TIMEOUT_S", 0.001)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(address)
        fill(address)
        Notifier(address).send(WATCHDOG=1)
        deaf.setblocking(False)
        assert set(received(deaf)) == {b"full"}


def fill(address: str) -> None:
    """Send until the socket takes no more, for any net.unix.max_dgram_qlen."""
    with contextlib.suppress(BlockingIOError):
        while True:
            # A sender may reach a limit of its own, so only a new one shows that nothing fits.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(b"full", address)


def received(listener: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield listener.recv(100)


@pytest.mark.parametrize(
    ("environ", "limit"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": "1500000"}, timedelta(seconds=1.5)),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(os.getpid())}, timedelta(seconds=1.5)),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "1"}, None),
    ],
)
def test_the_watchdog_is_used_only_if_it_is_meant_for_this_process(
    environ: dict[str, str], limit: timedelta | None
) -> None:
    assert Supervisor.of(environ, Heartbeat()).watchdog == limit


class Bench:
    """A supervisor with a limit of 30 s, on a clock of its own."""

    def __init__(self, address: str) -> None:
        self.clock = Clock()
        self.heartbeat = Heartbeat(self.clock)
        self.supervisor = Supervisor(
            Notifier(address),
            self.heartbeat,
            watchdog=timedelta(seconds=30),
            monotonic=self.clock,
            now=lambda: NOW,
        )

    def pass_time(self, seconds: int) -> None:
        """Look once a second, as the main thread does."""
        for _ in range(seconds):
            self.clock.at += 1.0
            self.supervisor.look()


def test_a_loop_that_is_alive_sends_three_signs_of_life_within_the_watchdog(
    address: str, listener: Listener
) -> None:
    bench = Bench(address)
    bench.heartbeat.beat()
    bench.pass_time(30)
    assert listener.heard() == [{"WATCHDOG": "1"}] * 3


def test_a_loop_that_hangs_sends_no_sign_of_life_although_the_main_thread_looks(
    address: str, listener: Listener
) -> None:
    bench = Bench(address)
    bench.heartbeat.beat()
    bench.pass_time(int(SILENCE_S) + 1)
    listener.heard()
    bench.pass_time(120)
    assert listener.heard() == []


def test_a_timer_that_never_fires_is_a_loop_that_hangs(address: str, listener: Listener) -> None:
    bench = Bench(address)
    bench.heartbeat.rest(60)
    bench.pass_time(60)
    assert len(listener.heard()) == 6
    bench.pass_time(int(SILENCE_S))
    listener.heard()
    bench.pass_time(120)
    assert listener.heard() == []


def test_signs_of_life_go_on_through_an_hour_of_rest(address: str, listener: Listener) -> None:
    bench = Bench(address)
    bench.heartbeat.rest(3600)
    bench.pass_time(3600)
    assert listener.heard() == [{"WATCHDOG": "1"}] * 360
    assert bench.heartbeat.is_alive


def test_no_sign_of_life_is_sent_without_a_watchdog(address: str, listener: Listener) -> None:
    supervisor = Supervisor(Notifier(address), Heartbeat())
    supervisor.look()
    assert listener.heard() == []


def test_the_status_describes_the_cycles_and_the_failures(address: str, listener: Listener) -> None:
    supervisor = Bench(address).supervisor
    count = CycleCount(
        pages=1, read=12, forwarded=3, newest=NOW - timedelta(seconds=4), served_at=NOW
    )
    supervisor.opening()
    supervisor.standing_by(TransientError("ledger l.db is held by process 4711 (run)"))
    supervisor.ready()
    supervisor.postponed(TransientError("https://x: no answer in time"), timedelta(seconds=8))
    supervisor.progressed(count)
    supervisor.finished(count)
    supervisor.finished(CycleCount())
    supervisor.blocked(
        FatalError("Segment answered 401", code="segment-request-refused", hint="check the key")
    )
    supervisor.stopping()
    last = "2026-11-23 10:00:00 UTC"
    counts = "12 read, 3 forwarded, 0 dead-lettered"
    assert listener.heard() == [
        {"STATUS": "opening the ledger", "EXTEND_TIMEOUT_USEC": "600000000"},
        {
            "READY": "1",
            "STATUS": "standby, and takes over when it is free: "
            "ledger l.db is held by process 4711 (run)",
        },
        {"READY": "1", "STATUS": "started; the first cycle is under way"},
        {"STATUS": "trying again in 8 s: https://x: no answer in time; last whole cycle: none yet"},
        {"STATUS": f"newest event 4 s old; draining: {counts} so far"},
        {"STATUS": f"newest event 4 s old; last cycle {last}: {counts}"},
        {"STATUS": f"no new event; last cycle {last}: 0 read, 0 forwarded, 0 dead-lettered"},
        {"STATUS": f"blocked: Segment answered 401: check the key; last whole cycle: {last}"},
        {"STOPPING": "1", "STATUS": "settling the page at hand", "EXTEND_TIMEOUT_USEC": "10000000"},
    ]
