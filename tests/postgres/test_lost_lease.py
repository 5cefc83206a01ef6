"""A process that has lost its lease stops at once, and does not wait for the fence to refuse it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres.cluster import Cluster
from tests.process.bench import Bench, MakeBench, Running, eventually
from tests.process.kills import set_faults
from tests.process.many import Many, delivers, many_benches
from tests.process.template import Template

QUICK = {"poller.adapters.sql_ledger.postgres.lease.RENEWED_EVERY_S": 0.2}
PATIENT = {"poller.service.lifecycle.one_shot.run_once:patience": 3600.0}
STOLEN = (
    "UPDATE ledger_lease SET owner = 'other', host = 'host-b', machine = 'b', pid = 1, "
    "expires_at = clock_timestamp() + interval '1 hour' WHERE role = '{role}'"
)
FREED = "DELETE FROM ledger_lease WHERE owner = 'other'"
SLOW = {"action": "drip", "service": "segment", "seconds": 0.05, "times": 2}
REFUSED = {"action": "status", "service": "segment", "times": None}


def steal(cluster: Cluster, database: str, role: str = "run") -> None:
    """Take over the lease, as another machine does when it has expired."""
    cluster.execute(STOLEN.format(role=role), database)


def assert_ends_once(running: Running) -> None:
    ended = running.wait()
    assert ended.code == 75
    (line,) = [line for line in ended.err.splitlines() if "taken-over" in line]
    assert "did not renew its lease" in line


def test_a_daemon_that_rests_ends_when_its_lease_is_lost(
    make: MakeBench, cluster: Cluster, database: str
) -> None:
    bench = make(seed=1, events=30)
    bench.write_settings(poll__interval="10m")
    bench.constants |= QUICK
    with bench.start("run") as daemon:
        eventually("a drain", lambda: daemon.says("cycle.finished"))
        steal(cluster, database)
        assert_ends_once(daemon)
    assert bench.run("run", "--once").code == 75


@pytest.mark.parametrize(
    ("arguments", "role"),
    [
        (("run", "--once"), "run"),
        (("backfill", "--since", "1d", "--new", "--yes"), "backfill"),
    ],
)
def test_a_job_ends_after_the_page_at_hand_when_its_lease_is_lost(
    make: MakeBench, cluster: Cluster, database: str, arguments: tuple[str, ...], role: str
) -> None:
    bench = make(seed=2, events=400, plan="unlimited")
    bench.constants |= QUICK | PATIENT
    # The job cannot come to its end before the lease is lost, however slow the test is.
    set_faults(bench, SLOW, REFUSED)
    with bench.start(*arguments) as job:
        eventually("a batch", lambda: bench.sandbox.truth()["delivered"])
        steal(cluster, database, role)
        assert_ends_once(job)
    cluster.execute(FREED, database)
    set_faults(bench)
    assert bench.run(*arguments).code == 0
    assert bench.run("run", "--once").code == 0
    bench.assert_conserved()


@pytest.fixture
def many(cluster: Cluster, database: str, tmp_path: Path, template: Template) -> Iterator[Many]:
    """Two pipelines that share a ledger, and one with a ledger of its own."""
    with many_benches(tmp_path, template) as many, cluster.database() as other:
        many.write_defaults(state_of(cluster.settings(database, tmp_path / "local")))
        for name in ("one", "two"):
            many.add(name, is_shared=True)
        many.add("apart", **cluster.settings(other, tmp_path / "apart"))
        many.constants |= QUICK
        yield many


def state_of(settings: dict[str, str]) -> str:
    lines = [f"{key.partition('__')[2]} = {json.dumps(value)}" for key, value in settings.items()]
    return "[state]\n" + "\n".join(lines) + "\n"


def lines(running: Running, event: str) -> list[dict[str, Any]]:
    found = (json.loads(line) for line in running.err.splitlines() if line.startswith("{"))
    return [line for line in found if line["event"] == event]


def reasons(running: Running, name: str) -> str:
    failed = [line for line in lines(running, "pipeline.failed") if line["pipeline"] == name]
    return "; ".join(str(line["reason"]) for line in failed)


def grow(*benches: Bench) -> None:
    for bench in benches:
        bench.sandbox.ask("grow", count=20, seconds=0)


def test_the_pipelines_of_a_lost_lease_wait_and_the_others_of_the_folder_go_on(
    many: Many, cluster: Cluster, database: str
) -> None:
    benches = many.benches
    with many.start() as running:
        for bench in benches.values():
            eventually("its events", lambda bench=bench: delivers(bench))
        steal(cluster, database)
        for name in ("one", "two"):
            eventually("a lost lease", lambda name=name: "its lease" in reasons(running, name))
            eventually("a refusal", lambda name=name: "is held by" in reasons(running, name))
        grow(*benches.values())
        eventually("the third one", lambda: delivers(benches["apart"]))
        assert not reasons(running, "apart")
        assert not delivers(benches["one"])
        assert not delivers(benches["two"])
        cluster.execute(FREED, database)
        for bench in benches.values():
            eventually("its events", lambda bench=bench: delivers(bench))
        assert running.stop().code == 0
    for bench in benches.values():
        bench.assert_conserved()
