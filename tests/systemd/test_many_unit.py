"""The units of many pipelines, under a real systemd: of one process, and of a worker."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import commands_under, page
from tests.paths import ROOT
from tests.postgres.cluster import Cluster
from tests.process.bench import NEVER_LOGGED, eventually
from tests.systemd.machine import Machine
from tests.systemd.site import ETC, Site, typed

UNIT, WORKER = "auth0-segment-poller-many.service", "auth0-segment-poller-worker.service"
FOLDER = f"{ETC}/many"
STOP_RUN, COPY, ENABLE, STATUS, RELOAD = (
    line.strip() for line in commands_under("How", page("guides/scale.md")) if line.strip()
)
"""The commands of the guide, in order."""
JOBS = "SELECT status, count(*) FROM auth0_segment_poller_queue.asp_pgqueuer GROUP BY status"


@dataclass
class Tenant(Site):
    """A tenant whose settings file lies in the folder of the unit."""

    process: str = UNIT

    @property
    def unit(self) -> str:
        return self.process

    def write(self, *, secret: str | None = None, **poll: str) -> None:
        """Write the settings and the credentials. All simulated tenants have one domain."""
        super().write(secret=secret, **poll)
        file = self.machine.root / f"{ETC.lstrip('/')}/{self.name}.toml"
        own = f'[segment]\nsource_name = "{file.stem}"\n'
        file.write_text(file.read_text().replace("[segment]\n", own))


@pytest.fixture
def add(make_site: Callable[..., Site], installed: Machine) -> Iterator[Callable[..., Tenant]]:
    """Return a function that adds a tenant to the folder."""
    numbers = iter(range(1, 100))

    def made(name: str, *, secret: str | None = None, unit: str = UNIT) -> Tenant:
        sandbox = make_site("unused", seed=next(numbers), events=60).sandbox
        tenant = Tenant(installed, sandbox, f"many/{name}", unit)
        tenant.write(secret=secret)
        return tenant

    yield made
    for action in ("kill", "stop", "reset-failed"):
        for unit in (UNIT, WORKER):
            installed.systemctl(action, unit, is_checked=False)
    for unit in (UNIT, WORKER):
        drop_ins = installed.root / f"etc/systemd/system/{unit}.d"
        shutil.rmtree(drop_ins, ignore_errors=True)
    shutil.rmtree(installed.root / FOLDER.lstrip("/"))


@pytest.mark.parametrize("unit", [UNIT, WORKER])
def test_a_start_and_a_reload_copy_the_secrets_in_the_same_way(unit: str) -> None:
    text = (ROOT / "systemd" / unit).read_text()
    start, reload = re.findall(
        r"^Exec(?:StartPre|Reload)=(\+/bin/sh.*?done')", text, re.MULTILINE | re.DOTALL
    )
    assert start == reload


def test_a_pipeline_that_fails_stops_no_other_and_a_reload_adds_one(
    add: Callable[..., Tenant], installed: Machine
) -> None:
    acme, wrong = add("acme"), add("wrong", secret="wrong")
    acme.start()
    pid = acme.show("MainPID")
    eventually("acme", lambda: acme.is_delivered)
    eventually("a status", lambda: "1 running" in acme.show("StatusText"))
    globex = add("globex")
    wrong.write()
    installed.systemctl("reload", UNIT)
    for tenant in (globex, wrong):
        eventually(tenant.name, lambda tenant=tenant: tenant.is_delivered)
    acme.sandbox.ask("grow", count=20, seconds=0)
    eventually("acme again", lambda: acme.is_delivered)
    assert (acme.show("MainPID"), acme.show("NRestarts")) == (pid, "0")
    kept = installed.root / "run/auth0-segment-poller-many"
    uid = int(acme.show("UID"))
    assert {(each.stat().st_uid, each.stat().st_mode & 0o777) for each in kept.iterdir()} == {
        (uid, 0o400)
    }
    acme.stop()
    assert not kept.exists()
    for tenant in (acme, globex, wrong):
        tenant.assert_conserved()
    assert NEVER_LOGGED.search(acme.journal()) is None


def test_the_guide_brings_a_worker_up_which_reloads_and_gives_its_pipelines_back_at_a_stop(
    add: Callable[..., Tenant], installed: Machine, cluster: Cluster, database: str
) -> None:
    acme = add("acme", unit=WORKER)
    write_ledger(installed, cluster, database)
    for line in (STOP_RUN, COPY, ENABLE, STATUS):
        said = typed(installed, line)
    assert "Active: active (running)" in said
    assert acme.show("UnitFileState") == "enabled"
    eventually("acme", lambda: acme.is_delivered)
    pid = acme.show("MainPID")
    globex = add("globex", unit=WORKER)
    typed(installed, RELOAD)
    eventually("globex", lambda: globex.is_delivered)
    assert (acme.show("MainPID"), acme.show("NRestarts")) == (pid, "0")
    for tenant in (acme, globex):
        tenant.sandbox.ask("traffic", rate=50)
    eventually("more events", lambda: acme.sandbox.truth()["delivered"] > 100)
    acme.stop()
    # Past TimeoutStopSec the result would be "timeout".
    assert (acme.show("Result"), acme.show("ExecMainStatus")) == ("success", "0")
    assert cluster.execute("SELECT count(*) FROM ledger_lease", database) == [(0,)]
    assert cluster.execute(JOBS, database) == [("queued", 2)]
    for tenant in (acme, globex):
        tenant.sandbox.ask("traffic", rate=0)
    acme.start()
    for tenant in (acme, globex):
        eventually("the rest", lambda tenant=tenant: tenant.is_delivered)
        tenant.assert_conserved()
    assert NEVER_LOGGED.search(acme.journal()) is None


def test_a_killed_worker_is_started_again(
    add: Callable[..., Tenant], installed: Machine, cluster: Cluster, database: str
) -> None:
    acme = add("acme", unit=WORKER)
    write_ledger(installed, cluster, database)
    acme.drop_in("RestartSec=100ms")
    acme.start()
    eventually("acme", lambda: acme.is_delivered)
    installed.systemctl("kill", "--signal=KILL", WORKER)
    eventually("a restart", lambda: int(acme.show("NRestarts")) >= 1)
    acme.sandbox.ask("grow", count=20, seconds=0)
    eventually("acme again", lambda: acme.is_delivered)
    assert acme.show("NRestarts") == "1"
    acme.assert_conserved()


def write_ledger(machine: Machine, cluster: Cluster, database: str) -> None:
    """Keep the ledger of all pipelines of the folder in a database."""
    settings = cluster.settings(database, Path())
    machine.write(f"{FOLDER}/_defaults.toml", f'[state]\nurl = "{settings["state__url"]}"\n')
    password = f"{FOLDER}/_defaults.credentials/state_password"
    machine.write(password, settings["state__password"] + "\n", 0o600)
