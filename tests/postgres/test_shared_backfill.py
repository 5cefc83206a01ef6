"""The workers of a folder share the slices of one backfill."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.postgres.cluster import Cluster
from tests.postgres.fleet import HAD, let_expire, write_ledger
from tests.process.bench import PATIENCE_S, Ended, Running, SandboxThread, eventually
from tests.process.kills import set_faults
from tests.process.many import Many, many_benches
from tests.process.template import Template

DAYS = 3
EVENTS = 1_500
BACKFILL = ("backfill", "--pipeline", "tenant", "--since", f"{DAYS}d", "--yes", "--json", "--share")


@pytest.fixture
def many(cluster: Cluster, database: str, tmp_path: Path, template: Template) -> Iterator[Many]:
    """A pipeline with three days of history, and another pipeline of the folder.

    A worker can walk a quarter of the 32 slices at a time.
    """
    with many_benches(tmp_path, template) as many:
        write_ledger(many, cluster, database, tmp_path / "local")
        sandbox = SandboxThread(seed=1, plan="unlimited")
        try:
            many.add("tenant", sandbox, is_shared=True, poll__start="now")
            sandbox.ask("grow", count=EVENTS, seconds=DAYS * 86_000, ago=600)
            many.add("other", is_shared=True)
            for name, value in {"SHIFT_S": 2.0, "LOOK_S": 1.0, "MOST_SLICES": 8}.items():
                many.constants[f"poller.adapters.shift_queue.queue.{name}"] = value
            # A busy worker may tell late what it has sent.
            many.constants["poller.cli.pipelines.shared_slices._COUNTED_WITHIN_S"] = PATIENCE_S
            yield many
        finally:
            sandbox.close()


def walked(running: Running) -> int:
    """Return how many slices the worker has finished."""
    lines = [json.loads(line) for line in running.err.splitlines() if line.startswith("{")]
    return sum(line["event"] == "slice.walked" and line["is_finished"] for line in lines)


def refuse_batches(many: Many, *, after: int = 0) -> None:
    """Let the collector take this many batches, and refuse all others."""
    fault = {"action": "status", "path": "/v1/batch", "skip": after, "times": None}
    set_faults(many.benches["tenant"], fault)


def take_batches(many: Many) -> None:
    set_faults(many.benches["tenant"])


@pytest.fixture
def have_slices(cluster: Cluster, database: str) -> Callable[..., bool]:
    """Return a function that tells if each of these workers has slices of the queue."""

    def have_slices(*workers: Running) -> bool:
        found = (cluster.execute(HAD % each.process.pid, database) for each in workers)
        return all(any(key.startswith("slice ") for (key,) in keys) for keys in found)

    return have_slices


def begun(many: Many) -> Running:
    """Start a worker that has a pipeline at least."""
    worker = many.start("worker")
    eventually("a shift", lambda: worker.says("pipeline.opened"))
    return worker


def summary(ended: Ended) -> dict[str, int]:
    found: dict[str, int] = json.loads(ended.out.splitlines()[-1])
    return found


def test_two_workers_share_a_backfill_and_the_command_sums_it_up(
    many: Many, have_slices: Callable[..., bool]
) -> None:
    tenant = many.benches["tenant"]
    refuse_batches(many)
    with begun(many) as first, many.start("worker") as second:
        with many.start(*BACKFILL) as command:
            eventually("slices of both", lambda: have_slices(first, second))
            take_batches(many)
            ended = command.wait()
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


def test_the_slices_of_a_killed_worker_are_walked_by_another_one(
    many: Many, have_slices: Callable[..., bool], cluster: Cluster, database: str
) -> None:
    refuse_batches(many)
    with begun(many) as first, many.start("worker") as second:
        with many.start(*BACKFILL) as command:
            eventually("slices of both", lambda: have_slices(first, second))
            second.signal(signal.SIGKILL)
            let_expire(cluster, database, second)
            take_batches(many)
            ended = command.wait()
        assert ended.code == 0, ended.err
        assert walked(first) == summary(ended)["slices"]
        assert walked(second) == 0
        assert first.stop().code == 0
    many.benches["tenant"].assert_conserved()


def test_a_backfill_that_is_stopped_is_continued_without_workers(many: Many) -> None:
    refuse_batches(many, after=6)
    with begun(many) as worker:
        with many.start(*BACKFILL) as command:
            eventually("a slice", lambda: walked(worker))
            assert command.stop().code == 130
        take_batches(many)
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
