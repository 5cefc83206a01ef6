"""`check` finds whatever would end the start of the daemon with 78."""

import json
import os
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.process.bench import Bench, eventually
from tests.scripted import silent_port


@pytest.fixture
def taken() -> Iterator[str]:
    """An address on which something else listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refuse_the_ledger(bench: Bench, kind: str) -> None:
    match kind:
        case "a folder":
            bench.ledger.mkdir()
        case "a pipe":
            os.mkfifo(bench.ledger)
        case "a text":
            bench.ledger.write_text("notes\n" * 1000)
        case "a broken link":
            bench.ledger.symlink_to(bench.folder / "nowhere/ledger.db")
        case "a lock of another kind":
            bench.ledger.with_name("ledger.db.run.lock").mkdir()


def codes(text: str) -> set[str]:
    return set(re.findall(r"error\[([a-z-]+)\]", text))


def assert_agree(bench: Bench, code: str) -> None:
    """Assert that `check` finds the error that ends the start, and that both end with 78."""
    checked, started = bench.run("check"), bench.run("run")
    assert (checked.code, started.code) == (78, 78), checked.out + started.err
    assert codes(checked.out) == codes(started.err) == {code}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("a folder", "not-a-ledger"),
        ("a pipe", "not-a-ledger"),
        ("a text", "not-a-ledger"),
        ("a broken link", "ledger-link-broken"),
        ("a lock of another kind", "ledger-companion-file-unsafe"),
    ],
)
def test_check_finds_the_ledger_that_a_start_would_refuse(
    plain: Bench, kind: str, code: str
) -> None:
    refuse_the_ledger(plain, kind)
    assert_agree(plain, code)


def test_check_finds_the_address_that_a_start_would_refuse(plain: Bench, taken: str) -> None:
    plain.write_settings(metrics__listen=taken)
    assert_agree(plain, "listen-address-unusable")
    plain.write_settings(metrics__listen="192.0.2.1:9464")
    assert_agree(plain, "listen-address-unusable")


def test_check_takes_the_address_of_the_running_daemon_for_good(plain: Bench) -> None:
    with silent_port() as port:
        plain.write_settings(metrics__listen=f"127.0.0.1:{port}")
        assert f"the daemon can listen on 127.0.0.1:{port}" in plain.run("check").out
        with plain.start("run") as daemon:
            eventually("a drain", lambda: daemon.says("cycle.finished"))
            checked = plain.run("check")
            assert checked.code == 0, checked.out
            assert f"while the daemon runs (process {daemon.process.pid})" in checked.out


def test_check_finds_a_start_in_the_future_until_the_first_start_is_over(plain: Bench) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    plain.write_settings(poll__start=tomorrow)
    assert_agree(plain, "start-in-future")
    plain.write_settings(poll__start="earliest")
    assert plain.run("run", "--once").code == 0
    plain.write_settings(poll__start=tomorrow)
    checked = json.loads(plain.run("check", "--json").out)
    assert checked["code"] == 0
    assert plain.run("run", "--once").code == 0
