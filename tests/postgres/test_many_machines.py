"""Workers divide the pipelines of a folder, and take over from one that dies or stalls."""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres.cluster import Cluster
from tests.postgres.fleet import write_ledger
from tests.process.bench import Running, eventually
from tests.process.many import Many, delivers, many_benches
from tests.process.template import Template

TAKEN_OVER_WITHIN_S = 60.0
TENANTS = 4


@pytest.fixture
def many(cluster: Cluster, database: str, tmp_path: Path, template: Template) -> Iterator[Many]:
    """Four pipelines that share a ledger in PostgreSQL."""
    with many_benches(tmp_path, template) as many:
        write_ledger(many, cluster, database, tmp_path / "local")
        for number in range(TENANTS):
            many.add(f"tenant{number}", is_shared=True)
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
        eventually("a refusal", lambda: len(refused(second)) == had)
        eventually("all events", lambda: all_delivered(many))
        assert second.stop().code == 0
        assert first.stop().code == 0
        assert len(refused(second)) == had
    assert_conserved(many)


def refused(running: Running) -> list[dict[str, Any]]:
    """Return the lines by which a worker says that it has lost a pipeline.

    The database refuses a page. If no page came before the end of a shift, the queue refuses.
    """
    lines = events(running, "pipeline.failed")
    fenced = [line for line in lines if re.search("since fence", str(line["reason"]))]
    return fenced + events(running, "pipeline.taken_over")
