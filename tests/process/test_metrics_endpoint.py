"""The metrics of the installed daemon in traffic, in an outage and at a wrong address."""

import itertools
import json
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.process.bench import NEVER_LOGGED, PATIENCE_S, Bench, Running, eventually

PREFIX = "auth0_segment_poller_"
ANYWHERE = "127.0.0.1:0"
LOG_ID = re.compile(r"900\d{14}")
Values = dict[str, float]


class Scraper:
    """A scraper of a running daemon."""

    def __init__(self, daemon: Running) -> None:
        self.origin = f"http://{eventually('the listener', lambda: address_of(daemon))}"

    def ask(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.origin}{path}", timeout=PATIENCE_S) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def values(self) -> Values:
        """Return the sum of each metric over all labels."""
        status, text = self.ask("/metrics")
        assert status == 200
        assert NEVER_LOGGED.search(text) is None
        assert LOG_ID.search(text) is None
        found: Values = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix(PREFIX)
                found[name] = found.get(name, 0.0) + sample.value
        return found


def address_of(daemon: Running) -> str | None:
    found = [json.loads(line) for line in daemon.err.splitlines() if '"metrics.listening"' in line]
    return found[0]["address"] if found else None


def assert_identity(values: Values) -> None:
    settled = sum(
        values[f"events_{outcome}_total"] for outcome in ("forwarded", "filtered", "dead_lettered")
    )
    assert values["events_read_total"] == settled + values["events_in_hand"]


@contextmanager
def scraped(daemon: Running) -> Iterator[list[Values]]:
    """Yield a list that a tight loop fills with scrapes."""
    scraper, scrapes, wrong = Scraper(daemon), list[Values](), list[BaseException]()
    done = threading.Event()

    def loop() -> None:
        try:
            while not done.is_set():
                scrapes.append(scraper.values())
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            wrong.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield scrapes
    finally:
        done.set()
        thread.join(PATIENCE_S)
    assert not wrong, wrong


def test_each_event_that_was_read_is_settled_or_in_hand_at_every_scrape(plain: Bench) -> None:
    plain.write_settings(metrics__listen=ANYWHERE)
    odd = [None, {"type": "s"}, {"type": "auth0|0", "user_id": "auth0|0"}]
    plain.sandbox.ask("append", records=odd)
    faults = [
        {"action": "status", "service": "segment", "skip": 2, "times": 1},
        {"action": "drop_answer", "skip": 9},
    ]
    slow = {"action": "drip", "service": "segment", "seconds": 0.02, "times": None}
    plain.sandbox.ask("faults", set=[*faults, slow])
    with plain.start("run") as daemon:
        with scraped(daemon) as scrapes:
            plain.sandbox.ask("traffic", rate=100)
            eventually("traffic", lambda: scrapes and scrapes[-1]["events_forwarded_total"] > 150)
            eventually("a page in hand", lambda: any(map(with_events_in_hand, [*scrapes])))
            eventually("many scrapes", lambda: len(scrapes) > 20)
            plain.sandbox.ask("traffic", rate=0)
            plain.sandbox.ask("faults", clear=True)
            eventually("all of it", lambda: not plain.sandbox.truth()["lost"])
        # Pages of other events may still come. A scrape and the ledger then agree only at times.
        values = eventually(
            "a scrape that agrees with the ledger", lambda: agreeing(plain, Scraper(daemon))
        )
        assert daemon.stop().code == 0
    for before, after in itertools.pairwise(scrapes):
        assert_identity(after)
        assert all(
            after[name] >= value for name, value in before.items() if name.endswith("_total")
        )
    assert_is_of_a_daemon_that_is_well(values)
    plain.assert_conserved()


def agreeing(bench: Bench, scraper: Scraper) -> Values | None:
    """Return a scrape that agrees with the ledger and itself and has nothing in hand, or None."""
    values = scraper.values()
    (stream,) = bench.status()["streams"]
    outcomes = ("forwarded", "filtered", "dead_lettered")
    is_agreeing = all(
        values[f"events_{outcome}_total"] == stream["events"][outcome] for outcome in outcomes
    )
    # The end of a request may come between the reading of two of its metrics.
    is_between_requests = values["requests_total"] == values["request_duration_seconds_count"]
    return values if is_agreeing and is_between_requests and values["events_in_hand"] == 0 else None


def assert_is_of_a_daemon_that_is_well(values: Values) -> None:
    assert values["messages_acknowledged_total"] >= 2 * values["events_forwarded_total"]
    assert values["last_success_timestamp_seconds"] > 0
    assert values["gaps_total"] == values["blocked"] == 0
    assert values["lag_seconds"] < 30
    assert values["retention_seconds"] > values["position_age_seconds"]
    assert values["requests_total"] > 5
    assert 0 < values["rate_limit_remaining_requests"] <= values["rate_limit_requests"]


def with_events_in_hand(values: Values) -> Values | None:
    """Return the values of a scrape, or None for one between two attempts of the daemon."""
    return values if values["events_in_hand"] > 0 else None


def test_a_daemon_in_an_outage_of_segment_is_alive_and_not_ready(plain: Bench) -> None:
    plain.write_settings(metrics__listen=ANYWHERE, metrics__ready_lag="2s")
    with plain.start("run") as daemon:
        scraper = Scraper(daemon)
        eventually("ready", lambda: scraper.ask("/readyz")[0] == 200)
        plain.sandbox.ask(
            "faults", set=[{"action": "status", "service": "segment", "status": 500, "times": None}]
        )
        plain.sandbox.ask("traffic", rate=20)
        status, text = eventually("not ready", lambda: is_503(scraper.ask("/readyz")))
        assert (status, text.split()[:3]) == (503, ["the", "freshness", "is"])
        assert scraper.ask("/healthz") == (200, "ok\n")
        values = eventually("events in hand", lambda: with_events_in_hand(scraper.values()))
        assert values["lag_seconds"] == values["freshness_seconds"] > 2
        plain.sandbox.ask("traffic", rate=0)
        plain.sandbox.ask("faults", clear=True)
        eventually("ready again", lambda: scraper.ask("/readyz") == (200, "ok\n"))
        assert daemon.stop().code == 0


def test_the_lag_of_a_start_in_an_outage_comes_from_the_ledger(plain: Bench) -> None:
    assert plain.run("run", "--once").code == 0
    plain.write_settings(metrics__listen=ANYWHERE, metrics__ready_lag="1s")
    plain.sandbox.ask(
        "faults", set=[{"action": "status", "service": "auth0", "path": "/api", "times": None}]
    )
    with plain.start("run") as daemon:
        scraper = Scraper(daemon)
        eventually("trouble", lambda: daemon.says("cycle.postponed"))
        eventually("not ready", lambda: "the freshness is" in scraper.ask("/readyz")[1])
        assert scraper.ask("/healthz")[0] == 200
        values = scraper.values()
        assert values["lag_seconds"] > 1
        assert values["last_success_timestamp_seconds"] == values["events_read_total"] == 0
        daemon.stop()


def test_a_blocked_daemon_is_alive_and_not_ready(plain: Bench) -> None:
    plain.write_settings(metrics__listen=ANYWHERE)
    with plain.start("run") as daemon:
        scraper = Scraper(daemon)
        eventually("ready", lambda: scraper.ask("/readyz")[0] == 200)
        plain.sandbox.ask(
            "faults",
            set=[
                {
                    "action": "status",
                    "service": "segment",
                    "status": 401,
                    "body": '{"success": false}',
                    "times": None,
                }
            ],
        )
        plain.sandbox.ask("grow", count=50, seconds=0)
        assert (
            eventually("blocked", lambda: is_503(scraper.ask("/readyz")))[1]
            == "blocked: `status` says why\n"
        )
        assert scraper.ask("/healthz")[0] == 200
        assert scraper.values()["blocked"] == 1
        plain.sandbox.ask("faults", clear=True)
        eventually("ready again", lambda: scraper.ask("/readyz")[0] == 200)
        assert scraper.values()["blocked"] == 0
        daemon.stop()


def is_503(answer: tuple[int, str]) -> tuple[int, str] | None:
    return answer if answer[0] == 503 else None


def test_an_address_that_cannot_be_listened_on_ends_with_78_before_anything_is_asked(
    plain: Bench,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for listen, hint in ((address, "ss -ltnp"), ("192.0.2.1:9464", "address of this machine")):
            plain.write_settings(metrics__listen=listen)
            ended = plain.run("run")
            assert ended.code == 78
            assert f"cannot listen on {listen}" in ended.err
            assert hint in ended.err
        assert plain.sandbox.ask("requests") == []
        # One drain is not listened to.
        assert plain.run("run", "--once").code == 0


def test_the_daemon_opens_no_port_without_an_address(plain: Bench) -> None:
    with plain.start("run") as daemon:
        eventually("a cycle", lambda: daemon.says("cycle.finished"))
        assert not daemon.says("metrics.listening")
        assert listening_ports(daemon.process.pid) == set()
        daemon.stop()


def test_a_listening_daemon_is_found_by_the_same_look(plain: Bench) -> None:
    plain.write_settings(metrics__listen=ANYWHERE)
    with plain.start("run") as daemon:
        port = int(Scraper(daemon).origin.rpartition(":")[2])
        assert listening_ports(daemon.process.pid) == {port}
        daemon.stop()


def listening_ports(pid: int) -> set[int]:
    """Return the TCP ports on which a process listens, from the kernel."""
    process = Path(f"/proc/{pid}")
    held = set()
    for file in (process / "fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            held.add(str(file.readlink()))
    tables = [(process / "net" / name).read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    return {
        int(row[1].rpartition(":")[2], 16)
        for row in rows
        if row[3] == "0A" and f"socket:[{row[9]}]" in held
    }


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)
def test_prometheus_itself_finds_nothing_to_say_against_the_names(plain: Bench) -> None:
    plain.write_settings(metrics__listen=ANYWHERE)
    with plain.start("run") as daemon:
        scraper = Scraper(daemon)
        eventually("a cycle", lambda: daemon.says("cycle.finished"))
        text = scraper.ask("/metrics")[1]
        daemon.stop()
    checked = subprocess.run(
        ["promtool", "check", "metrics"],  # noqa: S607
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
