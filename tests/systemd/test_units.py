"""The units as they are installed, under a real systemd."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.process.bench import NEVER_LOGGED, SandboxThread, eventually
from tests.systemd.machine import Machine
from tests.systemd.site import BIN, BLOCKS, CLONE, ETC, UNITS, Site, typed

MOST_EXPOSED = 1.1
DYNAMIC = 61184
"""The first of the user ids that systemd lends (its UIDS-GIDS)."""
SOON = "RestartSec=100ms"
EDITOR = """#!/bin/sh
sed -i -e 's|^domain = .*|domain = "{domain}"|' -e 's|^client_id = .*|client_id = "{client_id}"|' \\
  -e 's|^# base_url = .*|base_url = "{auth0_url}"|' \\
  -e 's|^endpoint = .*|endpoint = "{segment_url}"|' \\
  -e 's|^interval = .*|interval = "1s"|' -e 's|^start = .*|start = "earliest"|' "$1"
"""
"""An editor that fills in the settings of the operator."""


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_hardly_exposed(unit: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze (Debian: systemd)")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Overall exposure level for .*: ([\d.]+) ", said)
    assert found is not None
    assert float(found[1]) <= MOST_EXPOSED, said


def test_the_units_of_one_settings_file_differ_in_what_they_do_and_in_nothing_else() -> None:
    """User, folder, secrets and sandboxing are equal, or the second unit fails."""
    shared = [
        unit.read_text().partition("DynamicUser=")[2].partition("[Install]")[0].strip()
        for unit in UNITS
        if not unit.stem.endswith(("-many", "-worker"))  # their settings are a folder
    ]
    named = {"\n".join(line for line in text.splitlines() if line[:1] != "#") for text in shared}
    assert len({text.replace("%i", "config") for text in named}) == 1


def test_systemd_finds_nothing_to_say_of_the_units(installed: Machine) -> None:
    names = [f"/etc/systemd/system/{unit.name}".replace("@.", "@acme.") for unit in UNITS]
    ended = installed.run("systemd-analyze", "verify", "--man=no", *names, is_checked=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_the_service_is_ready_runs_as_its_own_user_and_reports_its_progress(site: Site) -> None:
    site.start()
    assert site.show("ActiveState") == "active"
    eventually("all events", lambda: site.is_delivered)
    status = r"(newest event \d+ s old|no new event); last cycle .* UTC: "
    status += r"\d+ read, \d+ forwarded, 0 dead-lettered"
    eventually("a status", lambda: re.fullmatch(status, site.show("StatusText")))
    uid = (site.machine.root / "proc" / site.show("MainPID")).stat().st_uid
    assert uid == int(site.show("UID")) >= DYNAMIC
    kept = site.state
    assert kept.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in kept.iterdir()} >= {"ledger.db", "ledger.db.known"}
    assert {path.stat().st_uid for path in [kept, *kept.iterdir()]} == {uid}
    site.stop()
    site.assert_conserved()


def test_the_service_cannot_execute_a_file_that_it_can_write(site: Site) -> None:
    site.start()
    mounted = (
        (site.machine.root / "proc" / site.show("MainPID") / "mountinfo").read_text().splitlines()
    )
    options = {
        fields[4]: set(fields[5].split(",")) for fields in map(str.split, mounted)
    }  # the last one is on top
    state = f"/var/lib/private/auth0-segment-poller/{site.name}"
    for folder in ("/tmp", "/var/tmp", state):  # noqa: S108 - the machine's own
        assert options[folder] >= {"rw", "noexec"}
    for folder in ("/", "/etc", "/opt", "/dev/shm"):  # noqa: S108 - the machine's own
        assert "ro" in options[folder]


def test_the_service_stops_within_its_limit_in_the_middle_of_traffic_and_loses_nothing(
    site: Site,
) -> None:
    site.start()
    site.sandbox.ask("traffic", rate=100)
    eventually("a batch", lambda: site.sandbox.ask("collector"))
    site.stop()
    # Past TimeoutStopSec the result would be "timeout".
    assert (site.show("Result"), site.show("ExecMainStatus")) == ("success", "0")
    site.sandbox.ask("traffic", rate=0)
    site.start()
    eventually("the rest", lambda: site.is_delivered)
    site.stop()
    site.assert_conserved()
    assert site.sandbox.truth()["resent"] == []


def test_a_killed_service_is_started_again_and_loses_nothing(site: Site) -> None:
    site.drop_in(SOON)
    site.start()
    site.sandbox.ask("traffic", rate=100)
    for kills in (1, 2):
        pid = site.show("MainPID")
        site.machine.systemctl("kill", "--signal=KILL", site.unit)
        eventually("a restart", lambda kills=kills: int(site.show("NRestarts")) >= kills)
        eventually("a new process", lambda pid=pid: site.show("MainPID") not in {"0", pid})
    site.sandbox.ask("traffic", rate=0)
    eventually("all events", lambda: site.is_delivered)
    site.stop()
    site.assert_conserved()


def test_a_process_that_stands_still_is_ended_by_the_watchdog_and_started_again(site: Site) -> None:
    site.drop_in(SOON, "WatchdogSec=2s", "TimeoutAbortSec=500ms")
    site.start()
    site.machine.systemctl("kill", "--signal=STOP", site.unit)
    eventually("a restart", lambda: int(site.show("NRestarts")) >= 1)
    assert "Watchdog timeout (limit 2s)" in site.journal()
    eventually("all events", lambda: site.is_delivered)
    site.stop()
    site.assert_conserved()


def test_a_loop_that_hangs_is_ended_by_the_watchdog_and_says_where_it_hung(
    site: Site, fault: str
) -> None:
    site.drop_in(SOON, "WatchdogSec=3s", fault)
    site.start()
    eventually("all events", lambda: site.is_delivered)
    (site.state / "hang").touch(mode=0o666)
    eventually("the place", lambda: "in settle_unless_told_to_hang" in site.journal())
    eventually("a restart", lambda: int(site.show("NRestarts")) >= 1)
    told = site.journal()
    assert "Watchdog timeout (limit 3s)" in told
    assert "Fatal Python error: Aborted" in told
    assert NEVER_LOGGED.search(told) is None
    site.sandbox.ask("grow", count=50, seconds=0)
    eventually("the rest", lambda: site.is_delivered)
    site.stop()
    site.assert_conserved()


def test_an_outage_that_is_longer_than_the_watchdog_waits_is_no_reason_to_end_it(
    make_site: Callable[..., Site], fault: str
) -> None:
    site = make_site(seed=1, events=20)  # no step is long, also on a busy machine
    site.drop_in("WatchdogSec=10s", fault)
    down = {
        "action": "status",
        "service": "segment",
        "status": 503,
        "times": 1,
        "headers": {"Retry-After": "20"},
    }
    site.sandbox.ask("faults", set=[down])
    site.start()
    pid = site.show("MainPID")
    eventually("the outage", lambda: re.match(r"trying again in .*503", site.show("StatusText")))
    eventually("all events", lambda: site.is_delivered)
    assert (site.show("MainPID"), site.show("NRestarts")) == (pid, "0")
    site.stop()
    site.assert_conserved()


@pytest.mark.parametrize(
    ("interval", "secret"),
    [("often", None), ("1s", "wrong")],
    ids=["settings that are wrong", "a secret that is wrong"],
)
def test_the_service_is_not_started_again_after_a_fatal_error(
    site: Site, interval: str, secret: str | None
) -> None:
    site.drop_in(SOON)
    site.write(interval=interval, secret=secret)
    site.machine.systemctl("start", site.unit, is_checked=False)
    eventually(
        "the end", lambda: site.show("ActiveState") == "failed"
    )  # while a restart is due it is "activating"
    assert (site.show("ExecMainStatus"), site.show("NRestarts")) == ("78", "0")
    assert site.show("StatusText").startswith("ended, and is not started again: ")
    told = site.machine.run(
        "journalctl", "--no-pager", "--output=cat", "--priority=err", f"--unit={site.unit}"
    ).stdout
    assert (
        "poll.interval" in told
        if secret is None
        else "error[auth0-credentials-refused]: Auth0 refused the credentials" in told
    )
    status = f"auth0-segment-poller status --config {ETC}/{site.name}.toml"
    ended = site.machine.run("bash", "-c", status, is_checked=False)
    if secret is not None:
        assert (ended.returncode, "Auth0 refused the credentials" in ended.stdout) == (3, True)


def test_a_credential_that_is_missing_is_no_reason_to_start_it_for_ever(site: Site) -> None:
    site.drop_in(SOON)
    (site.machine.root / f"{ETC.lstrip('/')}/{site.name}.credentials/segment_write_key").unlink()
    site.machine.systemctl("start", site.unit, is_checked=False)
    eventually("the end", lambda: site.show("ActiveState") == "failed")
    assert (site.show("ExecMainStatus"), site.show("NRestarts")) == ("243", "0")


def test_on_a_full_disk_check_says_so(site: Site) -> None:
    site.machine.run("mkdir", "-p", "/var/lib/full")
    site.machine.run("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", "/var/lib/full")
    site.machine.run("sh", "-c", "cat /dev/zero > /var/lib/full/filler 2>/dev/null || true")
    line = f"auth0-segment-poller check --config {ETC}/{site.name}.toml"
    environ = {"POLLER_STATE__URL": "sqlite:////var/lib/full/ledger.db"}
    ended = site.machine.run("bash", "-c", line, is_checked=False, environ=environ)
    assert ended.returncode == 75, ended.stdout
    assert (
        "✗ ledger   ledger /var/lib/full/ledger.db: nothing can be written beside it: No space left"
        in ended.stdout
    )


def test_a_backfill_beside_the_daemon_is_of_the_same_user_and_both_send(
    make_site: Callable[..., Site],
) -> None:
    site = make_site(seed=11)
    site.write(start="now")
    site.sandbox.ask("grow", count=1000, seconds=7200, ago=1200)
    site.machine.write(f"{ETC}/{site.name}.backfill", "BACKFILL=--since 1d --parallel 2\n")
    site.start()
    eventually("a first cycle", lambda: "last cycle" in site.show("StatusText"))
    pid = site.show("MainPID")
    site.sandbox.ask("traffic", rate=20)
    eventually("the daemon's", lambda: site.sandbox.ask("collector"))
    typed(
        site.machine,
        f"auth0-segment-poller backfill --dry-run --since 1d --config {ETC}/{site.name}.toml",
    )
    site.machine.systemctl("start", site.backfill_unit)
    assert site.machine.show(site.backfill_unit, "Result") == "success"
    site.sandbox.ask("traffic", rate=0)
    eventually("all events", lambda: site.is_delivered)
    assert (site.show("MainPID"), site.show("NRestarts")) == (pid, "0")
    assert {path.stat().st_uid for path in [site.state, *site.state.iterdir()]} == {
        int(site.show("UID"))
    }
    site.stop()
    site.assert_conserved()


def test_two_settings_files_are_two_services_of_two_users(make_site: Callable[..., Site]) -> None:
    sites = [
        make_site(seed=1, events=50),
        make_site(seed=2, events=50, name="a" * 24),
    ]
    for site in sites:
        site.start()
    for site in sites:
        eventually("all events", lambda site=site: site.is_delivered)
    assert len({site.show("UID") for site in sites}) == 2
    for site in sites:
        assert site.show("ActiveState") == "active"
        site.stop()
        site.assert_conserved()


def test_encrypted_credentials_are_used_as_the_unit_says(site: Site) -> None:
    folder = f"{ETC}/{site.name}.credentials"
    for name in ("auth0_client_secret", "segment_write_key"):
        # By default it would not keep the host's key where this machine has it, in memory.
        files = f"{folder}/{name} {folder}/{name}.cred"
        encrypt = f"systemd-creds encrypt --with-key=host --name={name} {files}"
        site.machine.run("sh", "-c", f"{encrypt} && rm {folder}/{name}")
    unit = (ROOT / "systemd/auth0-segment-poller@.service").read_text()
    lines = re.findall(r"^# (LoadCredential=|LoadCredentialEncrypted=.*)$", unit, re.MULTILINE)
    assert len(lines) == 3
    site.drop_in(*lines)
    site.start()
    eventually("all events", lambda: site.is_delivered)


MIGRATION_STEPS = "poller/adapters/sql_ledger/sqlite/migration_steps.py"

# The commands of the guides, line by line. The last test uninstalls the program.


@pytest.fixture(scope="module")
def plain_site(clone: Machine) -> Iterator[Site]:
    """The site whose settings file is config.toml, which the guide writes."""
    sandbox = SandboxThread(seed=1, events=100)
    try:
        yield Site(clone, sandbox, "config")
    finally:
        sandbox.close()


def test_the_guide_brings_a_service_up(installed: Machine, plain_site: Site) -> None:
    installed.write(f"{BIN}/editor", EDITOR.format(**plain_site.sandbox.facts), 0o755)
    for line in BLOCKS[1]:
        secrets = {"client_secret": "auth0_client_secret", "write_key": "segment_write_key"}
        pasted = [
            fact
            for fact, name in secrets.items()
            if line.endswith(f"/dev/stdin {ETC}/config.credentials/{name}")
        ]
        said = typed(
            installed, line, stdin="".join(plain_site.sandbox.facts[fact] + "\n" for fact in pasted)
        )
        if " check " in line:
            assert "✗" not in said, said
        if line.startswith("systemctl status"):
            assert "Active: active (running)" in said
            assert "Status: " in said
    assert plain_site.show("UnitFileState") == "enabled"
    assert said.splitlines()[0].split() == [
        "ledger",
        "/var/lib/private/auth0-segment-poller/config/ledger.db",
    ]
    eventually("all events", lambda: plain_site.is_delivered)


def test_the_guide_upgrades_the_service_and_its_ledger(
    installed: Machine, plain_site: Site
) -> None:
    """The newer version is the current one with one more step for the ledger."""
    before = plain_site.ledger_version()
    steps = installed.root / CLONE.lstrip("/") / MIGRATION_STEPS
    step = 'connection.execute(text("CREATE TABLE later (x INTEGER)"))'
    steps.write_text(f"{steps.read_text()}\nSTEPS = (*STEPS, lambda connection: {step})\n")
    plain_site.sandbox.ask("grow", count=50, seconds=0)
    for line in BLOCKS[2]:
        typed(installed, line)
    assert plain_site.ledger_version() == before + 1
    eventually("what came meanwhile", lambda: plain_site.is_delivered)
    plain_site.assert_conserved()


def test_the_guide_rolls_the_service_back_with_its_ledger(
    installed: Machine, plain_site: Site
) -> None:
    """The older version is the current one, whose version the backup of the upgrade has."""
    shutil.copy(ROOT / MIGRATION_STEPS, installed.root / CLONE.lstrip("/") / MIGRATION_STEPS)
    later = plain_site.ledger_version()
    plain_site.sandbox.ask("grow", count=50, seconds=0)
    for line in BLOCKS[3]:
        typed(installed, line.replace("ledger.db.v3", f"ledger.db.v{later - 1}"))
    assert plain_site.ledger_version() == later - 1
    assert plain_site.show("ActiveState") == "active"
    eventually("what came meanwhile", lambda: plain_site.is_delivered)
    plain_site.assert_conserved()


def test_the_guide_removes_every_file_of_the_service(installed: Machine, plain_site: Site) -> None:
    for line in BLOCKS[4]:
        typed(installed, line)
    assert plain_site.show("LoadState") == "not-found"
    places = ("/etc", "/opt/auth0-segment-poller", "/var/lib", "/usr/local/bin")
    found = installed.run("find", *places, "-name", "*auth0-segment*", is_checked=False)
    assert found.stdout.split() == []
