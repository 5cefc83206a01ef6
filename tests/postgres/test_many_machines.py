"""Workers divide the pipelines of a folder, and take over from one that dies or stalls."""

import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.paths import TESTS
from tests.postgres.cluster import Cluster
from tests.postgres.fleet import write_ledger
from tests.process.bench import Running, eventually
from tests.process.many import Many, PipelineBench, delivers, many_benches
from tests.process.template import Template

TAKEN_OVER_WITHIN_S = 60.0
TENANTS = 4
SCHEMAS = json.loads((TESTS / "schemas/commands.json").read_text())["$defs"]


@pytest.fixture
def many(cluster: Cluster, database: str, tmp_path: Path, template: Template) -> Iterator[Many]:
    """Four pipelines that share a ledger in PostgreSQL. Each has a folder of its own for it."""
    with many_benches(tmp_path, template) as many:
        write_ledger(many, cluster, database, tmp_path / "local")
        for number in range(TENANTS):
            folder = str(tmp_path / f"local/tenant{number}")
            many.add(f"tenant{number}", is_shared=True, state__folder=folder)
        many.constants["poller.adapters.shift_queue.queue.SHIFT_S"] = 2.0
        yield many


def events(running: Running, event: str) -> list[dict[str, Any]]:
    found = (json.loads(line) for line in running.err.splitlines() if line.startswith("{"))
    return [line for line in found if line["event"] == event]


def held(running: Running) -> int:
    """Return how many pipelines the worker has now."""
    return len(events(running, "pipeline.opened")) - len(events(running, "pipeline.removed"))


def grow(many: Many) -> None:
    for bench in many.benches.values():
        bench.sandbox.ask("grow", count=20, seconds=0)


def all_delivered(many: Many) -> bool:
    return all(delivers(bench) for bench in many.benches.values())


def seconds_until_drained(many: Many) -> float:
    """Return how long it takes until new events of every tenant are delivered."""
    begun = time.monotonic()
    grow(many)
    eventually("all events", lambda: all_delivered(many))
    return time.monotonic() - begun


def assert_conserved(many: Many) -> None:
    for bench in many.benches.values():
        bench.assert_conserved()


def shared(many: Many) -> tuple[Running, Running]:
    """Start a worker, and a second one that gets its half of the pipelines."""
    first = many.start("worker")
    eventually("all shifts", lambda: held(first) == TENANTS)
    second = many.start("worker")
    eventually("fair shares", lambda: (held(first), held(second)) == (TENANTS / 2, TENANTS / 2))
    eventually("all events", lambda: all_delivered(many))
    return first, second


def test_the_pipelines_of_a_killed_worker_are_taken_over(many: Many) -> None:
    first, second = shared(many)
    with first, second:
        second.signal(signal.SIGKILL)
        took = seconds_until_drained(many)
        assert took < TAKEN_OVER_WITHIN_S
        print(f"killed: {took:.1f} s")  # noqa: T201 - a measurement
        assert first.stop().code == 0
    assert_conserved(many)


def test_a_worker_that_stops_gives_its_pipelines_back_at_once(many: Many) -> None:
    first, second = shared(many)
    with first, second:
        assert second.stop().code == 0
        took = seconds_until_drained(many)
        print(f"stopped: {took:.1f} s")  # noqa: T201 - a measurement
        assert took < TAKEN_OVER_WITHIN_S / 2
        assert first.stop().code == 0
    assert_conserved(many)


def test_no_pipeline_of_a_worker_that_stops_is_idle_for_more_than_two_intervals(
    many: Many,
) -> None:
    interval_s = 8.0
    for bench in many.benches.values():
        bench.overrides["poll__interval"] = f"{interval_s:g}s"
        bench.write_settings()
    many.constants["poller.adapters.shift_queue.queue.LOOK_S"] = 1.0
    first, second = shared(many)
    with first, second:
        seen = {name: len(polls(bench)) for name, bench in many.benches.items()}
        assert second.stop().code == 0
        for name, bench in many.benches.items():
            eventually(name, lambda name=name, bench=bench: len(polls(bench)) > seen[name] + 1)
        assert first.stop().code == 0
    for name, bench in many.benches.items():
        times = polls(bench)[seen[name] - 1 :]
        assert max(after - before for before, after in pairwise(times)) < 2 * interval_s


def polls(bench: PipelineBench) -> list[float]:
    """Return the times of the requests for the log of a tenant."""
    found = bench.sandbox.ask("requests", service="auth0", path="/api/v2/logs")
    return [datetime.fromisoformat(each["at"]).timestamp() for each in found]


def test_the_status_names_the_worker_of_each_pipeline_and_its_machine(many: Many) -> None:
    first, second = shared(many)
    with first, second:
        report = json.loads(many.run("status", "--json").out)
        text = many.run("status").out
        jsonschema.validate(report, {"$defs": SCHEMAS, "$ref": "#/$defs/pipelines"})
        workers = [each["report"]["streams"][0]["worker"] for each in report["pipelines"]]
        pids = Counter(each["pid"] for each in workers)
        assert pids == {each.process.pid: TENANTS / 2 for each in (first, second)}
        assert {each["host"] for each in workers} == {socket.gethostname()}
        for each in workers:
            assert f"process {each['pid']} on {each['host']} since {each['since'][:19]}" in text
        assert {each["state"] for each in report["pipelines"]} == {"running"}
        assert first.stop().code == 0


def test_a_worker_reads_its_files_again_at_a_hang_up(many: Many) -> None:
    with many.start("worker") as running:
        eventually("all shifts", lambda: held(running) == TENANTS)
        many.benches["tenant0"].write_settings(poll__interval="2s")
        many.benches["tenant1"].settings.unlink()
        running.signal(signal.SIGHUP)
        eventually("an answer", lambda: running.says("settings.read"))
        (read,) = events(running, "settings.read")
        assert (read["changed"], read["removed"]) == (1, 1)
        eventually("the end", lambda: running.says("pipeline.removed"))
        running.signal(signal.SIGHUP)
        eventually("an answer", lambda: len(events(running, "settings.read")) == 2)
        assert running.stop().code == 0
    names = [line["pipeline"] for line in events(running, "pipeline.opened")]
    assert Counter(names) == {"tenant0": 2, "tenant1": 1, "tenant2": 1, "tenant3": 1}


def test_a_stalled_worker_that_wakes_up_is_refused_in_one_line_each(many: Many) -> None:
    first, second = shared(many)
    with first, second:
        had = held(second)
        second.signal(signal.SIGSTOP)
        took = seconds_until_drained(many)
        print(f"stalled: {took:.1f} s")  # noqa: T201 - a measurement
        assert took < TAKEN_OVER_WITHIN_S
        second.signal(signal.SIGCONT)
        grow(many)
        eventually("a refusal of each", lambda: len(refused(second)) == had)
        eventually("all events", lambda: all_delivered(many))
        assert second.stop().code == 0
        assert first.stop().code == 0
        assert len(refused(second)) == had
    assert_conserved(many)


def refused(running: Running) -> set[str]:
    """Return the pipelines of which a worker says that it has lost them.

    The database refuses a page, or the lease. If the end of a shift comes first, the queue refuses.
    """
    lines = [line for line in events(running, "pipeline.failed") if line["code"] == "taken-over"]
    return {line["pipeline"] for line in lines + events(running, "pipeline.taken_over")}
