"""A backlog is sent beside live polling by the installed command, through kills and stops.

The daemon decides at once, and not after 30 s of drain, whether it catches up.
"""

import contextlib
import random
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.process.bench import Bench, MakeBench, Running, eventually
from tests.process.kills import kill, repeat_until_killed, set_faults

DRAIN_S = "poller.service.daemon.catch_up.DRAIN_S"
HOUR_S = 3600
DISORDER = timedelta(minutes=1)
"""The log is in the order of its ids, so that the dates in it may go back by some seconds."""
STEPS = {"/oauth/token": 1, "/api/v2/logs": 12, "/api/v2/users": 3, "/v1/batch": 8}
"""The paths at which a process is killed, and up to which of its requests to each path."""


def far_behind(make: MakeBench, seed: int = 1) -> Bench:
    """Return a bench whose daemon knows the log up to six hours ago."""
    bench = make(seed=seed, plan="unlimited")
    bench.constants[DRAIN_S] = 0.0
    # Until two clocks agree, the host's clock dates what is read. It is never behind this tenant's.
    bench.sandbox.ask("clock", advance=-24 * HOUR_S)
    bench.sandbox.ask("grow", count=50, seconds=60)
    assert bench.run("run", "--once").code == 0
    fall_behind(bench, 600, hours=6)
    return bench


def fall_behind(bench: Bench, count: int, *, hours: float) -> None:
    """Let time pass in which this number of events happens and nobody reads the log."""
    bench.sandbox.ask("clock", advance=hours * HOUR_S)
    bench.sandbox.ask("grow", count=count, seconds=0.8 * hours * HOUR_S, ago=180)
    bench.sandbox.ask("grow", count=10, seconds=0)


def all_delivered(bench: Bench) -> bool:
    truth = bench.sandbox.truth()
    return bool(truth["expected"] == truth["delivered"])


def stream(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = bench.status()["streams"][0]
    return found


def assert_caught_up(bench: Bench) -> None:
    """Assert that each event was counted and published once, and that nothing is left to do."""
    truth = bench.assert_conserved()
    assert stream(bench)["events"]["forwarded"] == truth["events"]
    assert stream(bench)["backlog"] is None
    assert len(spans(bench)) == 1
    assert_last_traits_are_newest(bench)


def spans(bench: Bench) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stream(bench)["spans"]
    return found


def assert_last_traits_are_newest(bench: Bench) -> None:
    """Assert that the last identify of each user tells what is true after all of the user's events.

    An identify of an event has the date of the event, and one at the end of a catch-up has the time
    at which its profile was read.
    """
    last: dict[str, dict[str, datetime]] = {"track": {}, "identify": {}}
    for arrival in bench.sandbox.ask("messages", count=100_000):
        message = arrival["message"]
        if arrival["fate"] == "published" and message["type"] in last:
            moment = datetime.fromisoformat(message["originalTimestamp"])
            known = last[message["type"]]
            is_track = message["type"] == "track"
            known[message["userId"]] = max(
                moment, known.get(message["userId"], moment) if is_track else moment
            )
    newest = {user: at - DISORDER for user, at in last["track"].items()}
    stale = [user for user, at in newest.items() if last["identify"][user] < at]
    assert not stale


def test_a_drain_with_a_backlog_sends_new_events_first_and_ends_when_all_is_sent(
    make: MakeBench,
) -> None:
    bench = far_behind(make)
    ended = bench.run("run", "--once")
    assert ended.code == 0
    assert len(ended.events("catch_up.began")) == len(ended.events("catch_up.finished")) == 1
    assert_caught_up(bench)


def test_a_daemon_that_is_stopped_or_killed_while_it_catches_up_goes_on_at_its_next_start(
    make: MakeBench,
) -> None:
    bench = far_behind(make)
    for number in (signal.SIGTERM, signal.SIGKILL):
        failing = {"action": "status", "path": "/v1/batch", "status": 503, "times": None}
        set_faults(bench, failing | {"skip": 3})
        with bench.start("run") as daemon:
            eventually("a postponement", lambda seen=daemon: seen.says("catch_up.postponed"))
            daemon.signal(number)
            ended = daemon.wait()
        assert ended.code == (0 if number == signal.SIGTERM else -number)
        assert has_slices(bench)
    set_faults(bench)
    run_to_the_end(bench)


def has_slices(bench: Bench) -> bool:
    """Return whether slices are left, read from the ledger file."""
    url = f"file:{bench.ledger}?mode=ro"
    query = "SELECT 1 FROM span WHERE is_catch_up AND reached < until"
    with contextlib.closing(sqlite3.connect(url, uri=True)) as connection:
        return connection.execute(query).fetchone() is not None


def run_to_the_end(bench: Bench) -> None:
    """Let the daemon finish, and assert that nothing was lost or counted twice."""
    with bench.start("run") as daemon:
        eventually("the end of the catch-up", lambda: daemon.says("catch_up.finished"))
        eventually("all events", lambda: all_delivered(bench))
        assert daemon.stop().code == 0
    assert_caught_up(bench)


def test_a_kill_between_the_last_slice_and_the_identifies_leaves_them_to_the_next_start(
    make: MakeBench,
) -> None:
    bench = far_behind(make)
    # The tracks go out without the profiles, and the identifies wait for them.
    set_faults(bench, {"action": "status", "path": "/api/v2/users", "status": 503, "times": None})
    with bench.start("run") as daemon:
        eventually("all tracks", lambda: all_delivered(bench) and not has_slices(bench))
        eventually("the reason", lambda: "503" in (stream(bench)["backlog"]["error"] or ""))
        daemon.signal(signal.SIGKILL)
        daemon.wait()
    assert stream(bench)["backlog"]["slices_left"] == 0
    set_faults(bench)
    run_to_the_end(bench)


# Kills


@contextmanager
def backfill_beside(bench: Bench, dice: random.Random) -> Iterator[None]:
    """Let a backfill run beside the daemon now and then, and kill it or let it end."""
    with ExitStack() as stack:
        if dice.random() < 0.3:
            arguments = ("backfill", "--since", "30d", "--yes")
            backfill = stack.enter_context(bench.start(*arguments))
            if dice.random() < 0.5:
                stack.callback(backfill.process.wait, 60)
        yield


def run_with_kills(bench: Bench, seed: int) -> None:
    """Kill drains and daemons after outages, and assert that nothing is lost or doubled."""
    dice = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret

    def run() -> Running:
        if dice.random() < 0.5:
            fall_behind(bench, dice.randrange(100, 400), hours=dice.uniform(0.3, 3))
        with (
            bench.start("run", *(["--once"] if dice.random() < 0.4 else [])) as running,
            backfill_beside(bench, dice),
        ):
            kill(bench, running, dice, steps=STEPS, at_request=0.6, latest_s=1.2)
        return running

    repeat_until_killed(run)
    assert bench.run("backfill", "--since", "30d", "--yes").code == 0
    assert bench.run("run", "--once").code == 0
    assert_caught_up(bench)


def test_kills_while_a_backlog_is_sent_lose_and_double_nothing(make: MakeBench) -> None:
    run_with_kills(far_behind(make), seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 160))
def test_three_hundred_kills_while_backlogs_are_sent_lose_and_double_nothing(
    make: MakeBench, seed: int
) -> None:
    run_with_kills(far_behind(make, seed), seed)
