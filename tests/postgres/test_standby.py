"""A standby takes over when the other machine is gone, and the other one settles nothing more."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from poller.adapters.sql_ledger.postgres import lease
from poller.cli.wiring.standby import _TICKS_PER_ATTEMPT
from poller.service.lifecycle.process import TICK_S
from tests.postgres.cluster import Cluster
from tests.postgres.proxy import Proxy, proxy_to
from tests.process.bench import Bench, Running, SandboxThread, eventually
from tests.process.kills import set_faults
from tests.process.template import Template

LEASE = "poller.adapters.sql_ledger.postgres.lease."
BY_HAND = {f"{LEASE}EXPIRES_AFTER_S": 3600, f"{LEASE}RENEWED_EVERY_S": 2.0}
"""A lease that expires only when the test says so, however slow the machine is."""
OWNER = "SELECT owner FROM ledger_lease WHERE role = 'run'"
EXPIRED = "UPDATE ledger_lease SET expires_at = clock_timestamp() WHERE owner = '%s'"
WAITING = "SELECT role FROM ledger_lease WHERE role = 'standby'"
PROMISED_S = 30.0
PER_SECOND = 10
DRIP = {"action": "drip", "service": "segment", "seconds": 0.1, "times": None}
"""An answer that takes seconds, and that begins once the events have arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """Two machines that work on one stream. Only the first one reaches the server by the proxy."""

    first: Bench
    second: Bench
    proxy: Proxy
    ask: Callable[[str], list[Any]]
    """Asks the database."""

    @contextmanager
    def running(self) -> Iterator[tuple[Running, Running]]:
        """Start the owner and the standby, with live traffic."""
        with self.first.start("run") as owner:
            eventually("a drain", lambda: owner.says("cycle.finished"))
            with self.second.start("run", "--standby") as standby:
                eventually("a standby", lambda: self.ask(WAITING))
                self.first.sandbox.ask("traffic", rate=PER_SECOND)
                self.wait_for_traffic()
                assert not standby.says("standby.took_over")
                yield owner, standby

    def seconds_until_taken_over(self, standby: Running) -> float:
        """Return how long the standby needs from now on until the ledger is its own."""
        begun = time.monotonic()
        eventually("a takeover", lambda: standby.says("standby.took_over"))
        took = time.monotonic() - begun
        print(f"taken over after {took:.1f} s")  # noqa: T201 - a measurement
        return took

    def let_lease_expire(self, standby: Running) -> None:
        """Let the owner's lease expire until the standby has taken over.

        A renewal that was on its way when the owner was cut off may arrive in between.
        """
        ((owner,),) = self.ask(OWNER)

        def is_taken_over() -> bool:
            self.ask(EXPIRED % owner)
            return standby.says("standby.took_over")

        eventually("a takeover", is_taken_over)

    def wait_for_traffic(self) -> None:
        """Return once more has arrived than had happened by now."""
        before = self.first.sandbox.truth()["expected"]
        eventually("traffic", lambda: self.first.sandbox.truth()["delivered"] > before)

    def assert_all_is_settled_once(self, standby: Running) -> None:
        """End the traffic, and compare the tenant with what arrived and with the ledger."""
        self.first.sandbox.ask("traffic", rate=0)
        eventually("all events", lambda: not self.first.sandbox.truth()["lost"])
        assert standby.stop().code == 0
        truth = self.first.assert_conserved()
        totals = self.second.status()["streams"][0]["events"]
        assert (totals["forwarded"], totals["dead_lettered"]) == (truth["events"], 0)


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
                bench.constants |= BY_HAND | {f"{LEASE}_BOOT_ID": str(boot_id)}
                return bench

            yield Machines(
                first=machine("first", proxy.port),
                second=machine("second", cluster.port),
                proxy=proxy,
                ask=lambda statement: cluster.execute(statement, database),
            )
    finally:
        sandbox.close()


def assert_refused_in_one_line(owner: Running) -> None:
    ended = owner.wait()
    assert ended.code == 75
    assert ended.err.count('"taken-over"') + ended.err.count("error[taken-over]") == 1


def test_the_waits_before_a_takeover_are_shorter_than_the_promised_time() -> None:
    assert lease.EXPIRES_AFTER_S + _TICKS_PER_ATTEMPT * TICK_S < PROMISED_S


def test_a_standby_takes_over_without_help_when_the_owner_is_killed(machines: Machines) -> None:
    for machine in (machines.first, machines.second):
        for name in BY_HAND:
            del machine.constants[name]
    with machines.running() as (owner, standby):
        owner.signal(signal.SIGKILL)
        machines.seconds_until_taken_over(standby)
        machines.assert_all_is_settled_once(standby)


def test_an_owner_that_stalled_with_a_page_is_refused_when_it_wakes_up(machines: Machines) -> None:
    with machines.running() as (owner, standby):
        set_faults(machines.first, DRIP)
        machines.wait_for_traffic()
        owner.signal(signal.SIGSTOP)
        set_faults(machines.first)
        machines.let_lease_expire(standby)
        owner.signal(signal.SIGCONT)
        assert_refused_in_one_line(owner)
        machines.assert_all_is_settled_once(standby)


@pytest.mark.parametrize("fail", [Proxy.cut, Proxy.freeze])
def test_an_owner_that_is_cut_off_is_refused_when_the_network_is_back(
    machines: Machines, fail: Callable[[Proxy], None]
) -> None:
    with machines.running() as (owner, standby):
        fail(machines.proxy)
        machines.let_lease_expire(standby)
        assert owner.process.poll() is None
        machines.proxy.heal()
        assert_refused_in_one_line(owner)
        machines.assert_all_is_settled_once(standby)


def test_a_restart_of_the_server_leaves_the_ledger_to_its_owner(
    machines: Machines, cluster: Cluster
) -> None:
    with machines.running() as (owner, standby):
        cluster.restart("immediate")
        machines.wait_for_traffic()
        assert not standby.says("standby.took_over")
        holder = machines.second.status()
        assert holder["daemon"]["pid"] == owner.process.pid
        assert holder["standby"]["pid"] == standby.process.pid
        assert owner.stop().code == 0
        machines.seconds_until_taken_over(standby)
        cluster.restart("fast")
        machines.wait_for_traffic()
        machines.assert_all_is_settled_once(standby)
    said = [json.loads(line)["event"] for line in standby.err.splitlines() if line.startswith("{")]
    assert said.count("standby.took_over") == 1
