"""Workers divide the pipelines of a folder, and take over from one that dies or stalls."""

import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from poller.adapters.shift_queue import queue, statements
from poller.adapters.shift_queue.tables import SETTINGS
from tests.paths import TESTS
from tests.postgres.cluster import Cluster
from tests.postgres.fleet import OWNER, let_expire, write_ledger
from tests.process.bench import Running, eventually
from tests.process.many import Many, delivers, many_benches
from tests.process.template import Template

TAKEN_OVER_WITHIN_S = 60.0
TENANTS = 4
QUEUE = "poller.adapters.shift_queue."
NEVER_S = 3600.0
OWNED = """
SELECT substring(stream.role FROM 'tenant[0-9]') FROM ledger_lease AS stream
JOIN ledger_lease AS worker USING (owner)
WHERE stream.role LIKE 'run %%' AND worker.role LIKE 'worker %%' AND worker.pid = %d
"""
JOBS_OF = f"""
SELECT dedupe_key FROM {SETTINGS.qualified.queue_table}
WHERE replace(queue_manager_id::text, '-', '') = '%s'
"""  # noqa: S608 - the names are ours
ROWS_OF = "SELECT role FROM ledger_lease WHERE owner = '%s'"
SCHEMAS = json.loads((TESTS / "schemas/commands.json").read_text())["$defs"]


@pytest.fixture
def many(cluster: Cluster, database: str, tmp_path: Path, template: Template) -> Iterator[Many]:
    """Four pipelines that share a ledger in PostgreSQL. Each has a folder of its own for it."""
    with many_benches(tmp_path, template) as many:
        write_ledger(many, cluster, database, tmp_path / "local")
        for number in range(TENANTS):
            folder = str(tmp_path / f"local/tenant{number}")
            many.add(f"tenant{number}", is_shared=True, state__folder=folder)
        many.constants[f"{QUEUE}queue.SHIFT_S"] = 2.0
        many.constants[f"{QUEUE}queue.LOOK_S"] = 1.0
        yield many


Owned = Callable[[Running], set[str]]


@pytest.fixture
def owned(cluster: Cluster, database: str) -> Owned:
    """Return a function that asks the database for the pipelines that a worker owns."""

    def owned(running: Running) -> set[str]:
        is_there = "SELECT to_regclass('ledger_lease') IS NOT NULL"
        if not cluster.execute(is_there, database)[0][0]:
            return set()
        return {name for (name,) in cluster.execute(OWNED % running.process.pid, database)}

    return owned


def events(running: Running, event: str) -> list[dict[str, Any]]:
    found = (json.loads(line) for line in running.err.splitlines() if line.startswith("{"))
    return [line for line in found if line["event"] == event]


def opened(running: Running) -> Counter[str]:
    """Return how often the worker has opened each pipeline."""
    return Counter(line["pipeline"] for line in events(running, "pipeline.opened"))


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


@contextmanager
def shared(many: Many, owned: Owned) -> Iterator[tuple[Running, Running]]:
    """Start a worker, and a second one that gets its half of the pipelines."""
    with many.start("worker") as first:
        eventually("all shifts", lambda: len(owned(first)) == TENANTS)
        with many.start("worker") as second:
            half = TENANTS / 2
            eventually(
                "fair shares",
                lambda: [len(owned(each)) for each in (first, second)] == [half, half],
            )
            eventually("all events", lambda: all_delivered(many))
            yield first, second


def test_the_waits_before_a_takeover_make_up_less_than_a_minute() -> None:
    until_free = statements.HEARTBEAT_TIMEOUT + statements.LEFT_OVER_AFTER
    looks = 2 * 1.2 * queue.LOOK_S  # one that finds the shift left over, and one that takes it
    assert until_free.total_seconds() + looks < TAKEN_OVER_WITHIN_S


def test_the_pipelines_of_a_killed_worker_are_taken_over(many: Many, owned: Owned) -> None:
    with shared(many, owned) as (first, second):
        second.signal(signal.SIGKILL)
        took = seconds_until_drained(many)
        print(f"killed: {took:.1f} s")  # noqa: T201 - a measurement
        assert len(owned(first)) == TENANTS
        assert first.stop().code == 0
    assert_conserved(many)


def test_a_worker_that_stops_gives_its_pipelines_back_at_once(
    many: Many, owned: Owned, cluster: Cluster, database: str
) -> None:
    with shared(many, owned) as (first, second):
        ((owner,),) = cluster.execute(OWNER % second.process.pid, database)
        assert len(cluster.execute(JOBS_OF % owner, database)) == TENANTS / 2
        assert second.stop().code == 0
        assert cluster.execute(JOBS_OF % owner, database) == []
        assert cluster.execute(ROWS_OF % owner, database) == []
        took = seconds_until_drained(many)
        print(f"stopped: {took:.1f} s")  # noqa: T201 - a measurement
        assert first.stop().code == 0
    assert_conserved(many)


def test_a_pipeline_of_a_worker_that_stops_is_polled_before_its_interval_is_over(
    many: Many, owned: Owned
) -> None:
    """Nobody has to wait until a worker counts as dead, or a shift as left over."""
    let_rest(many)
    for name in ("queue.HEARTBEAT_TIMEOUT", "statements.HEARTBEAT_TIMEOUT"):
        many.constants[QUEUE + name] = NEVER_S
    many.constants[f"{QUEUE}statements.LEFT_OVER_AFTER"] = NEVER_S
    with shared(many, owned) as (first, second):
        had, before = owned(second), cycles(first)
        assert second.stop().code == 0
        for name in had:
            eventually(name, lambda name=name: cycles(first)[name] > before[name])
        assert first.stop().code == 0
    assert_conserved(many)


def let_rest(many: Many) -> None:
    """Let no pipeline poll twice within the test, so that only another worker polls again."""
    for bench in many.benches.values():
        bench.overrides["poll__interval"] = "10m"
        bench.write_settings()


def cycles(running: Running) -> Counter[str]:
    """Return how often the worker has read the log of each tenant to its end."""
    return Counter(line["pipeline"] for line in events(running, "cycle.finished"))


def test_the_status_names_the_worker_of_each_pipeline_and_its_machine(
    many: Many, owned: Owned
) -> None:
    with shared(many, owned) as (first, second):
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
    # At the end of a shift a worker reads the file without being told.
    many.constants[f"{QUEUE}queue.SHIFT_S"] = NEVER_S
    with many.start("worker") as running:
        eventually("all shifts", lambda: len(opened(running)) == TENANTS)
        many.benches["tenant0"].write_settings(poll__interval="2s")
        many.benches["tenant1"].settings.unlink()
        running.signal(signal.SIGHUP)
        eventually("an answer", lambda: running.says("settings.read"))
        (read,) = events(running, "settings.read")
        assert (read["changed"], read["removed"]) == (1, 1)
        eventually("the end", lambda: running.says("pipeline.removed"))
        running.signal(signal.SIGHUP)
        eventually("an answer", lambda: len(events(running, "settings.read")) == 2)
        eventually("the new settings", lambda: opened(running)["tenant0"] == 2)
        assert running.stop().code == 0
    assert opened(running) == {"tenant0": 2, "tenant1": 1, "tenant2": 1, "tenant3": 1}


def test_a_stalled_worker_that_wakes_up_is_refused_in_one_line_each(
    many: Many, owned: Owned, cluster: Cluster, database: str
) -> None:
    let_rest(many)
    with shared(many, owned) as (first, second):
        had = owned(second)
        eventually("rest", lambda: had <= {*cycles(second)})
        second.signal(signal.SIGSTOP)
        let_expire(cluster, database, second)
        eventually("a takeover", lambda: owned(first) == {*many.benches})
        second.signal(signal.SIGCONT)
        eventually("a refusal of each", lambda: refused(second) == had)
        assert second.stop().code == 0
        assert first.stop().code == 0
        assert refused(second) == had
    assert_conserved(many)


def refused(running: Running) -> set[str]:
    """Return the pipelines of which a worker says that it has lost them.

    The database refuses a page, or the lease. If the end of a shift comes first, the queue refuses.
    """
    failed = events(running, "pipeline.failed")
    lines = [line for line in failed if line.get("code") == "taken-over"]
    return {line["pipeline"] for line in lines + events(running, "pipeline.taken_over")}
