"""`init --systemd` sets up a service, as the guide says."""

from collections.abc import Callable

from tests.process.bench import eventually
from tests.systemd.machine import Machine
from tests.systemd.site import ETC, UNITS, Site

_UNIT_FOLDER = "/etc/systemd/system"


def owners_and_modes(machine: Machine, folder: str) -> dict[str, str]:
    found = machine.run("find", folder, "-printf", "%P %u %m\n").stdout
    return dict(line.split(" ", 1) for line in found.splitlines())


def test_init_brings_a_service_up_and_may_be_typed_again(
    make_site: Callable[..., Site], installed: Machine
) -> None:
    site = make_site(seed=3, events=100, name="made-by-init")
    installed.run("sh", "-c", f"rm -r {ETC}/{site.name}.* {_UNIT_FOLDER}/auth0-segment-poller*")
    refused = site.init()
    assert refused.returncode == 2
    assert "add --yes" in refused.stderr
    ended = site.init("--yes")
    assert ended.returncode in {0, 3}, ended.stdout + ended.stderr
    for step in (
        "Write ",
        "Run systemctl daemon-reload",
        "Check ",
        "Run systemctl enable",
        "Next:",
    ):
        assert step in ended.stdout
    for unit in UNITS:
        copied = installed.root / _UNIT_FOLDER.lstrip("/") / unit.name
        assert copied.read_text() == unit.read_text()
    assert (site.show("ActiveState"), site.show("UnitFileState")) == ("active", "enabled")
    eventually("all events", lambda: site.is_delivered)
    written = owners_and_modes(installed, ETC)
    assert written[f"{site.name}.toml"] == "root 644"
    assert written[f"{site.name}.credentials"] == "root 700"
    assert written[f"{site.name}.credentials/segment_write_key"] == "root 600"
    settings = f"{ETC}/{site.name}.toml"
    before = installed.run("cat", settings).stdout
    pid = site.show("MainPID")
    again = site.init("--yes")
    assert again.returncode in {0, 3}, again.stdout + again.stderr
    assert _UNIT_FOLDER not in again.stdout
    assert installed.run("cat", settings).stdout == before
    eventually("the next process", lambda: site.show("MainPID") not in {pid, "0"})
    site.stop()
    site.machine.systemctl("disable", site.unit)
    site.assert_conserved()


def test_a_check_that_fails_keeps_the_service_down(make_site: Callable[..., Site]) -> None:
    site = make_site(seed=4, name="not-started")
    site.sandbox.facts = site.sandbox.facts | {"client_secret": "wrong"}
    ended = site.init("--yes")
    assert ended.returncode == 78
    assert "The service stays as it is." in ended.stdout
    assert (site.show("ActiveState"), site.show("UnitFileState")) == ("inactive", "disabled")
