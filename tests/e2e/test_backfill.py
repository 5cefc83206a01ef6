"""`backfill` as a process: the past arrives once, whatever ends it, and beside the daemon."""

import json
import signal
from typing import Any

from tests.e2e.bench import Bench, Ended, eventually
from tests.e2e.conftest import MakeBench


def backfilled(bench: Bench, *arguments: str) -> tuple[Ended, list[dict[str, Any]]]:
    ended = bench.run("backfill", "--since", "earliest", "--yes", "--json", *arguments)
    return ended, [json.loads(line) for line in ended.out.splitlines() if line.startswith("{")]


def tracks(bench: Bench) -> list[str]:
    messages = [arrival["message"] for arrival in bench.sandbox.ask("messages")]
    return [message["messageId"] for message in messages if message["type"] == "track"]


def past(make: MakeBench, count: int = 3000) -> Bench:
    bench = make("--seed", "11")
    bench.overrides["poll__start"] = "now"
    bench.overrides["poll__late_window"] = "0s"
    bench.write_settings()
    bench.sandbox.ask("grow", count=count, seconds=86_400, ago=90_000)
    return bench


def test_the_past_is_sent_once_and_a_second_run_sends_nothing(make: MakeBench) -> None:
    bench = past(make)
    ended, (plan, summary) = backfilled(bench, "--new")
    assert ended.code == 0, ended.err
    assert plan["missing"]
    assert summary["read"] == 3000
    assert summary["slices"] >= 2
    assert summary["slices_left"] == 0
    assert bench.status()["streams"][0]["gaps"] == []
    sent = tracks(bench)
    truth = bench.sandbox.truth()
    assert truth["delivered"] == truth["expected"]
    assert len(sent) == len(set(sent)) >= truth["events"] > 0
    again, lines = backfilled(bench)
    assert again.code == 0, again.err
    assert lines[0]["unfinished"] == []
    # A token grant is an event of the log too, so there may be one that is new.
    assert all(
        line["forwarded"] == line["dead_lettered"] == line["identified"] == 0 and line["read"] < 5 for line in lines[1:]
    )
    assert tracks(bench) == sent


def test_a_dry_run_sends_nothing_and_without_a_ledger_none_is_made(make: MakeBench) -> None:
    bench = past(make, 200)
    ended, _ = backfilled(bench)
    assert ended.code == 78
    assert not bench.ledger.exists()
    ended, lines = backfilled(bench, "--new", "--dry-run")
    assert ended.code == 0, ended.err
    assert lines[0]["missing"]
    assert tracks(bench) == []


def test_killed_at_any_moment_it_goes_on_and_loses_nothing(make: MakeBench) -> None:
    bench = past(make)
    kills = 0
    for skip in (2, 5, 9, 14):
        running = bench.start("backfill", "--since", "earliest", "--yes", "--json", "--new")
        pid = running.process.pid
        fault = {"action": "kill_after", "service": "segment", "skip": skip, "pid": pid}
        bench.sandbox.ask("faults", clear=True, set=[fault])
        kills += running.wait().code == -signal.SIGKILL
    bench.sandbox.ask("faults", clear=True)
    ended, lines = backfilled(bench)
    assert ended.code == 0, ended.err
    assert kills
    assert lines[0]["unfinished"]
    truth = bench.sandbox.truth()
    assert truth["delivered"] == truth["expected"]


def test_beside_the_daemon_neither_sends_what_is_the_others(make: MakeBench) -> None:
    bench = past(make)
    with bench.start("run") as running:
        eventually("a first drain", lambda: running.says("span.begun"))
        bench.sandbox.ask("grow", count=200, seconds=0)
        ended, (plan, summary) = backfilled(bench)
        assert ended.code == 0, ended.err
        assert plan["missing"]
        assert summary["slices_left"] == 0
        eventually("all", lambda: bench.sandbox.truth()["delivered"] == bench.sandbox.truth()["expected"])
        running.stop()
    messages = [arrival["message"]["messageId"] for arrival in bench.sandbox.ask("messages")]
    assert len(messages) == len(set(messages))


def test_ctrl_c_settles_what_is_in_hand(make: MakeBench) -> None:
    bench = past(make)
    bench.sandbox.ask(
        "faults", clear=True, set=[{"action": "drip", "service": "segment", "seconds": 0.05, "times": None}]
    )
    running = bench.start("backfill", "--since", "earliest", "--yes", "--json", "--new", "--parallel", "2")
    eventually("a request", lambda: len(bench.sandbox.ask("messages")) > 0)
    running.signal(signal.SIGINT)
    assert running.wait().code == 130
    bench.sandbox.ask("faults", clear=True)
    assert backfilled(bench)[0].code == 0
    sent = tracks(bench)
    assert len(sent) == len(set(sent))
    truth = bench.sandbox.truth()
    assert truth["delivered"] == truth["expected"]


def test_a_range_that_is_no_range_is_a_usage_error(make: MakeBench) -> None:
    bench = past(make, 1)
    for odd in ("soon", "7", "2026-13-01", "2026-01-01T00:00:00", ""):
        assert bench.run("backfill", "--since", odd).code == 2


def test_longer_ago_than_there_are_years_is_the_earliest(make: MakeBench) -> None:
    bench = past(make, 200)
    ended = bench.run("backfill", "--since", "9999999d", "--new", "--dry-run", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["missing"]
