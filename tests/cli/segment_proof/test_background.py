"""The daemon looks at its write key once, tells what it learns once, and waits for nothing."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.cli.segment_proof.background import check_key_in_background
from poller.cli.wiring.services import stream_of
from poller.sandbox import Fault
from tests.cli.segment_proof.world import World


@pytest.fixture
def daemon(world: World) -> Iterator[World]:
    """A world with the ledger that a daemon has open."""
    settings = world.settings()
    ledger = SqlLedger.open(settings.state.url, stream_of(settings), create=True)
    yield world
    ledger.close()


def look(world: World, **changes: Any) -> list[dict[str, Any]]:
    """Take one look to its end, and return the lines that it logged."""
    with capture_logs() as lines:
        check_key_in_background(world.settings(**changes))
        for thread in threading.enumerate():
            if thread.name == "key-check":
                assert thread.daemon
                thread.join(120)
    assert world.sandbox.write_key not in str(lines)
    return list(map(dict, lines))


def events(lines: list[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


def test_a_proved_key_is_looked_at_once(daemon: World) -> None:
    assert events(look(daemon)) == ["write_key.proved"]
    assert look(daemon) == []
    assert len(daemon.sandbox.faults.seen("cdn")) == 1


def test_a_key_without_a_publication_is_told_once_and_looked_at_again(daemon: World) -> None:
    daemon.sandbox.source.is_published = False
    (line,) = look(daemon)
    assert (line["event"], line["log_level"]) == ("write_key.unpublished", "info")
    assert look(daemon) == []
    daemon.sandbox.source.is_published = True
    assert events(look(daemon)) == ["write_key.proved"]


def test_each_key_has_a_memory_of_its_own(daemon: World) -> None:
    look(daemon)
    assert events(look(daemon, segment__write_key="w" * 32)) == ["write_key.unpublished"]


def test_a_source_that_drops_events_is_told_at_each_start(daemon: World) -> None:
    daemon.sandbox.source.is_elsewhere = True
    daemon.sandbox.source.disabled_events = {"Logged In"}
    for _ in range(2):
        lines = look(daemon)
        assert events(lines) == ["source.drops_events"] * 2
        assert all(line["log_level"] == "warning" and line["hint"] for line in lines)


@pytest.mark.parametrize("action", ["status", "reset", "hang"])
def test_an_outage_is_one_line_and_the_next_start_looks_again(daemon: World, action: str) -> None:
    daemon.sandbox.faults.set(Fault(action=action, service="cdn"))
    assert events(look(daemon)) == ["write_key.not_checked"]
    assert events(look(daemon)) == ["write_key.proved"]


def test_a_ledger_that_is_gone_is_one_line(world: World) -> None:
    assert events(look(world)) == ["write_key.not_checked"]


def test_a_bug_is_one_line_without_its_text(daemon: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ValueError(daemon.sandbox.write_key)

    monkeypatch.setattr("poller.cli.segment_proof.background.read_published", fail)
    (line,) = look(daemon)
    assert line["reason"] == "ValueError"


def test_nothing_is_begun_where_it_is_switched_off(daemon: World) -> None:
    before = threading.active_count()
    check_key_in_background(daemon.settings(segment__cdn_endpoint="off"))
    assert threading.active_count() == before
