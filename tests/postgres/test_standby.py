"""A standby takes over when the other machine is gone, and the other one settles nothing more."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.postgres.cluster import Cluster
from tests.postgres.proxy import Proxy, proxy_to
from tests.process.bench import Bench, Running, SandboxThread, eventually
from tests.process.kills import set_faults
from tests.process.template import Template

LEASE = "poller.adapters.sql_ledger.postgres.lease."
SHORT = {f"{LEASE}EXPIRES_AFTER_S": 12, f"{LEASE}RENEWED_EVERY_S": 2.0}
"""A lease that a test can wait out. It leaves a busy machine ten seconds to renew it."""
PROMISED_S = 30.0
SLACK_S = 20.0
"""The time that a busy machine may need on top."""
PER_SECOND = 10
DRIP = {"action": "drip", "service": "segment", "seconds": 0.05, "times": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """Two machines that work on one stream. Only the first one reaches the server by the proxy."""

    first: Bench
    second: Bench
    proxy: Proxy

    @contextmanager
    def running(self) -> Iterator[tuple[Running, Running]]:
        """Start the owner and the standby, with live traffic."""
        with self.first.start("run") as owner:
            eventually("a drain", lambda: owner.says("cycle.finished"))
            with self.second.start("run", "--standby") as standby:
                eventually("a standby", lambda: standby.says("standby.waiting"))
                self.first.sandbox.ask("traffic", rate=PER_SECOND)
                eventually("traffic", lambda: is_flowing(self.first))
                assert not standby.says("standby.took_over")
                yield owner, standby

    def seconds_until_taken_over(self, standby: Running) -> float:
        """Return how long the standby needs from now on until the ledger is its own."""
        begun = time.monotonic()
        eventually("a takeover", lambda: standby.says("standby.took_over"))
        took = time.monotonic() - begun
        print(f"taken over after {took:.1f} s")  # noqa: T201 - a measurement
        return took

    def assert_all_is_settled_once(self, standby: Running) -> None:
        """End the traffic, and compare the tenant with what arrived and with the ledger."""
        self.first.sandbox.ask("traffic", rate=0)
        eventually("all events", lambda: not self.first.sandbox.truth()["lost"])
        assert standby.stop().code == 0
        truth = self.first.assert_conserved()
        totals = self.second.status()["streams"][0]["events"]
        assert (totals["forwarded"], totals["dead_lettered"]) == (truth["events"], 0)


def is_flowing(bench: Bench) -> bool:
    """Return whether something arrived within the last seconds."""
    before = bench.sandbox.truth()["delivered"]
    time.sleep(0.5)  # of traffic
    return bool(bench.sandbox.truth()["delivered"] > before)


@pytest.fixture
def machines(
    cluster: Cluster, database: str, tmp_path: Path, template: Template
) -> Iterator[Machines]:
    sandbox = SandboxThread(seed=7, events=100, plan="unlimited")
    try:
        with proxy_to(cluster.port) as proxy:

            def machine(name: str, port: int) -> Bench:
                folder = tmp_path / name
                folder.mkdir()
                bench = Bench(sandbox, folder, template=template)
                bench.overrides |= cluster.settings(database, folder / "local")
                url = bench.overrides["state__url"]
                bench.overrides["state__url"] = url.replace(f":{cluster.port}/", f":{port}/")
                bench.write_settings()
                boot_id = folder / "boot_id"
                boot_id.write_text(name)
                bench.constants |= SHORT | {f"{LEASE}_BOOT_ID": str(boot_id)}
                return bench

            yield Machines(
                first=machine("first", proxy.port),
                second=machine("second", cluster.port),
                proxy=proxy,
            )
    finally:
        sandbox.close()


def assert_refused_in_one_line(owner: Running) -> None:
    ended = owner.wait()
    assert ended.code == 75
    assert ended.err.count('"taken-over"') + ended.err.count("error[taken-over]") == 1


def test_a_standby_takes_over_within_the_promised_time_when_the_owner_is_killed(
    machines: Machines,
) -> None:
    for machine in (machines.first, machines.second):
        for name in SHORT:
            del machine.constants[name]
    with machines.running() as (owner, standby):
        owner.signal(signal.SIGKILL)
        assert machines.seconds_until_taken_over(standby) < PROMISED_S + SLACK_S
        machines.assert_all_is_settled_once(standby)


def test_an_owner_that_stalled_with_a_page_is_refused_when_it_wakes_up(machines: Machines) -> None:
    with machines.running() as (owner, standby):
        set_faults(machines.first, DRIP)
        before = batches(machines)
        eventually("a page at hand", lambda: batches(machines) > before)
        owner.signal(signal.SIGSTOP)
        set_faults(machines.first)
        machines.seconds_until_taken_over(standby)
        owner.signal(signal.SIGCONT)
        assert_refused_in_one_line(owner)
        machines.assert_all_is_settled_once(standby)


def batches(machines: Machines) -> int:
    return len(machines.first.sandbox.ask("requests", service="segment"))


@pytest.mark.parametrize("fail", [Proxy.cut, Proxy.freeze])
def test_an_owner_that_is_cut_off_is_refused_when_the_network_is_back(
    machines: Machines, fail: Callable[[Proxy], None]
) -> None:
    with machines.running() as (owner, standby):
        fail(machines.proxy)
        machines.seconds_until_taken_over(standby)
        assert owner.process.poll() is None
        machines.proxy.heal()
        assert_refused_in_one_line(owner)
        machines.assert_all_is_settled_once(standby)


def test_a_restart_of_the_server_leaves_the_ledger_to_its_owner(
    machines: Machines, cluster: Cluster
) -> None:
    with machines.running() as (owner, standby):
        cluster.restart("immediate")
        eventually("traffic", lambda: is_flowing(machines.first))
        assert not standby.says("standby.took_over")
        holder = machines.second.status()
        assert holder["daemon"]["pid"] == owner.process.pid
        assert holder["standby"]["pid"] == standby.process.pid
        assert owner.stop().code == 0
        machines.seconds_until_taken_over(standby)
        cluster.restart("fast")
        eventually("traffic", lambda: is_flowing(machines.first))
        machines.assert_all_is_settled_once(standby)
    said = [json.loads(line)["event"] for line in standby.err.splitlines() if line.startswith("{")]
    assert said.count("standby.took_over") == 1
