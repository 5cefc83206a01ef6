"""The workers of a folder share the slices of one backfill."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres.cluster import Cluster
from tests.postgres.fleet import write_ledger
from tests.process.bench import Ended, Running, eventually
from tests.process.many import Many, many_benches
from tests.process.template import Template

DAYS = 3
EVENTS = 3_000
BACKFILL = ("backfill", "--pipeline", "tenant", "--since", f"{DAYS}d", "--yes", "--json", "--share")


@pytest.fixture
def many(cluster: Cluster, database: str, tmp_path: Path, template: Template) -> Iterator[Many]:
    """A pipeline with three days of history, and another pipeline of the folder."""
    with many_benches(tmp_path, template) as many:
        write_ledger(many, cluster, database, tmp_path / "local")
        tenant = many.add("tenant", is_shared=True, events=0, poll__start="now")
        tenant.sandbox.ask("grow", count=EVENTS, seconds=DAYS * 86_000, ago=600)
        tenant.sandbox.ask("latency", auth0=0.1, segment=0.1)
        many.add("other", is_shared=True)
        many.constants["poller.adapters.shift_queue.queue.SHIFT_S"] = 2.0
        many.constants["poller.adapters.shift_queue.queue.MOST_SLICES"] = 2
        yield many


def walked(running: Running) -> int:
    """Return how many slices the worker has finished."""
    lines = [json.loads(line) for line in running.err.splitlines() if line.startswith("{")]
    return sum(line["event"] == "slice.walked" and line["is_finished"] for line in lines)


def begun(many: Many) -> Running:
    """Start a worker that has a pipeline at least."""
    worker = many.start("worker")
    eventually("a shift", lambda: worker.says("pipeline.opened"))
    return worker


def summary(ended: Ended) -> dict[str, int]:
    found: dict[str, int] = json.loads(ended.out.splitlines()[-1])
    return found


def test_two_workers_share_a_backfill_and_the_command_sums_it_up(many: Many) -> None:
    tenant = many.benches["tenant"]
    with begun(many) as first, begun(many) as second:
        ended = many.run(*BACKFILL)
        assert ended.code == 0, ended.err
        assert walked(first) > 0
        assert walked(second) > 0
        found = summary(ended)
        assert found["slices"] == walked(first) + walked(second)
        assert found["slices_left"] == 0
        assert found["read"] == EVENTS
        assert found["identified"] > 0
        assert first.stop().code == second.stop().code == 0
    truth = tenant.assert_conserved()
    assert truth["delivered"] >= EVENTS / 10


def test_the_slices_of_a_killed_worker_are_walked_by_another_one(many: Many) -> None:
    with begun(many) as first, begun(many) as second:
        with many.start(*BACKFILL) as command:
            eventually("both walk", lambda: walked(first) and walked(second))
            second.signal(signal.SIGKILL)
            assert command.wait().code == 0
        assert first.stop().code == 0
    many.benches["tenant"].assert_conserved()


def test_a_backfill_that_is_stopped_is_continued_without_workers(many: Many) -> None:
    with begun(many) as worker:
        with many.start(*BACKFILL) as command:
            eventually("a slice", lambda: walked(worker))
            assert command.stop().code == 130
        alone = [option for option in BACKFILL if option != "--share"]
        ended = many.run(*alone)
        assert ended.code == 0, ended.err
        assert summary(ended)["slices_left"] == 0
        assert worker.stop().code == 0
    many.benches["tenant"].assert_conserved()


def test_a_backfill_cannot_be_shared_if_no_worker_runs(many: Many) -> None:
    with begun(many) as worker:
        assert worker.stop().code == 0
    ended = many.run(*BACKFILL)
    assert ended.code == 75
    assert "no worker runs on this ledger" in ended.err
