"""The unit of many pipelines, under a real systemd."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.paths import ROOT
from tests.process.bench import NEVER_LOGGED, eventually
from tests.systemd.machine import Machine
from tests.systemd.site import ETC, Site

UNIT = "auth0-segment-poller-many.service"
FLAGS = re.MULTILINE | re.DOTALL


@dataclass
class Tenant(Site):
    """A tenant whose settings file lies in the folder of the unit."""

    @property
    def unit(self) -> str:
        return UNIT

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

    def made(name: str, *, secret: str | None = None) -> Tenant:
        sandbox = make_site("unused", seed=next(numbers), events=60).sandbox
        tenant = Tenant(installed, sandbox, f"many/{name}")
        tenant.write(secret=secret)
        return tenant

    yield made
    for action in ("kill", "stop", "reset-failed"):
        installed.systemctl(action, UNIT, is_checked=False)


def test_a_start_and_a_reload_copy_the_secrets_in_the_same_way() -> None:
    text = (ROOT / "systemd" / UNIT).read_text()
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
