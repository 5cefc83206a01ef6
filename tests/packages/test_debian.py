"""The Debian package on a private systemd: install, upgrade, an older version, remove, purge."""

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from poller import __version__
from tests.packages import debian
from tests.packages.debian import NAME, NEWER
from tests.packages.distributions import Distributions, pinned
from tests.paths import ROOT
from tests.process.bench import SandboxThread, eventually
from tests.systemd.machine import Machine, booted, missing
from tests.systemd.site import ETC, INSTALLED, Site

BY_HAND = "/etc/systemd/system/auth0-segment-poller.service"
IMPORTANT = "/etc/important"
UNITS = ("auth0-segment-poller", "auth0-segment-poller@broken")
PLACES = ("/etc", "/opt", "/run", "/usr", "/var/lib")


@pytest.fixture(scope="module")
def package(dist: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return debian.build(dist.wheel, tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def tree(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return debian.unpacked(package, tmp_path_factory.mktemp("tree"))


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    if reason := missing():
        pytest.skip(reason)
    with booted(has_own_usr=True) as up:
        yield up


@pytest.fixture(scope="module")
def sites(machine: Machine) -> Iterator[list[Site]]:
    """Two tenants: the one of config.toml, and another one."""
    with contextlib.ExitStack() as stack:
        made = []
        for seed, name in enumerate(("config", "acme"), start=1):
            sandbox = stack.enter_context(contextlib.closing(SandboxThread(seed=seed, events=100)))
            made.append(Site(machine, sandbox, name))
        yield made


def install(machine: Machine, package: Path, *, is_checked: bool = True) -> str:
    """Install the package with dpkg, and return what it says."""
    (machine.root / "tmp" / package.name).write_bytes(package.read_bytes())
    command = ("dpkg", "--no-triggers", "--install", f"/tmp/{package.name}")  # noqa: S108
    ended = machine.run(*command, is_checked=is_checked)
    assert bool(ended.returncode) is not is_checked, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def left(machine: Machine) -> list[str]:
    """Return all that has the name of the package, outside the folder of packages."""
    found = machine.run("find", *PLACES, "-xdev", "-name", f"*{NAME}*").stdout.split()
    return [path for path in found if not path.startswith("/var/lib/dpkg/")]


def test_the_package_names_no_place_of_the_machine_that_built_it(tree: Path) -> None:
    (program,) = (tree / INSTALLED.lstrip("/")).glob("lib/python3.*/site-packages/poller")
    assert (program / "__pycache__").is_dir()
    texts = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in texts:
        if path.suffix not in {".so", ".gz"} and "site-packages" not in path.parts:
            assert "/tmp/" not in path.read_text(), path  # noqa: S108 - looked for
    assert [*program.parent.glob("*.dist-info/direct_url.json")] == []
    script = (tree / INSTALLED.lstrip("/") / "bin" / NAME).read_text()
    assert script.startswith(f"#!{INSTALLED}/bin/python\n")


def test_the_same_source_gives_the_same_package_in_another_folder_and_later(
    dist: Distributions, package: Path, tmp_path: Path
) -> None:
    copy, folder, wheel = tmp_path / "clone", tmp_path / "deb", tmp_path / "wheel"
    for each in (folder, wheel):
        each.mkdir()
    shutil.copytree(ROOT / "packaging", copy / "packaging", copy_function=shutil.copyfile)
    for script in (copy / "packaging/deb.sh", *(copy / "packaging/debian").iterdir()):
        script.chmod(0o755)
    for name in ("CHANGELOG.md", "LICENSE"):
        shutil.copyfile(ROOT / name, copy / name)
    again = debian.build(shutil.copyfile(dist.wheel, wheel / dist.wheel.name), folder, clone=copy)
    assert again.name == package.name
    for name in (again.name, *(path.name for path in package.parent.glob("*.cdx.json"))):
        assert (folder / name).read_bytes() == (package.parent / name).read_bytes()


def test_the_list_of_parts_names_what_is_installed_with_its_version(tree: Path) -> None:
    parts = json.loads((tree / f"usr/share/doc/{NAME}/sbom.cdx.json").read_text())
    named = {
        part["name"].lower().replace("_", "-"): part["version"] for part in parts["components"]
    }
    versions = pinned("requirements.txt")
    elsewhere = {name: versions[name] for name in ("colorama", "tzdata")}  # for Windows
    assert named | elsewhere == versions | {NAME: __version__}


def test_a_package_is_not_mixed_with_an_installation_by_hand(
    machine: Machine, package: Path
) -> None:
    machine.write(BY_HAND, (ROOT / "systemd/auth0-segment-poller.service").read_text())
    assert "is of an installation by hand" in install(machine, package, is_checked=False)
    machine.run("rm", BY_HAND)
    machine.run("dpkg", "--purge", NAME)
    assert left(machine) == []


def test_the_package_installs_the_program_and_starts_and_enables_nothing(
    machine: Machine, package: Path
) -> None:
    assert "no unit is enabled yet" in install(machine, package)
    assert __version__ in machine.run(NAME, "--version").stdout
    for unit in UNITS:
        assert machine.systemctl("is-enabled", unit, is_checked=False).strip() == "disabled"
        assert machine.show(unit, "ActiveState") == "inactive"
    assert "conffile" not in machine.run("dpkg", "--verify", NAME).stdout
    page = f"/usr/share/man/man1/{NAME}.1.gz"
    assert machine.run("dpkg", "--search", page).stdout.startswith(NAME)
    assert machine.run("sh", "-c", f"zcat {page} | head -2").stdout.count(".TH") == 1


def test_init_refuses_a_masked_unit_and_starts_the_one_of_the_package(
    machine: Machine, sites: list[Site]
) -> None:
    site = sites[0]
    machine.systemctl("mask", site.unit)
    assert f"systemctl unmask {site.unit}" in site.init("--yes").stderr
    machine.systemctl("unmask", site.unit)
    ended = site.init("--yes")
    assert ended.returncode in {0, 3}, ended.stdout + ended.stderr
    assert not (machine.root / BY_HAND.lstrip("/")).exists()
    assert (site.show("ActiveState"), site.show("UnitFileState")) == ("active", "enabled")
    eventually("all events", lambda: site.is_delivered)


def test_an_upgrade_waits_for_a_command_that_someone_typed(
    machine: Machine, package: Path, sites: list[Site]
) -> None:
    line = "print('up', flush=True); input()"
    typed = [*machine.entry(), f"{INSTALLED}/bin/python", "-c", line]
    pid = sites[0].show("MainPID")
    with subprocess.Popen(typed, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        said = install(machine, package, is_checked=False)
        process.communicate(b"\n")
    assert "still runs the version that is installed. Nothing was changed." in said
    assert sites[0].show("ActiveState") == "active"
    assert sites[0].show("MainPID") != pid
    assert machine.run(NAME, "--version").returncode == 0


def test_an_upgrade_migrates_the_ledgers_and_starts_again_what_ran(
    machine: Machine, tree: Path, sites: list[Site], tmp_path: Path
) -> None:
    later = debian.newer(tree, tmp_path / "later.deb")
    for site in sites:
        site.write()
        site.start()
    machine.systemctl("enable", sites[0].unit)
    machine.systemctl("start", UNITS[1], is_checked=False)
    for site in sites:
        eventually("all events", lambda site=site: site.is_delivered)
    before = [(site.show("MainPID"), site.ledger_version()) for site in sites]
    install(machine, later)
    assert machine.run("dpkg-query", "--show", "--showformat=${Version}", NAME).stdout == NEWER
    for site, (pid, version) in zip(sites, before, strict=True):
        assert site.show("ActiveState") == "active"
        assert site.show("MainPID") != pid
        assert site.ledger_version() == version + 1
        site.sandbox.ask("grow", count=50, seconds=0)
        eventually("what came later", lambda site=site: site.is_delivered)
        site.assert_conserved()
    assert machine.show(UNITS[1], "ActiveState") == "failed"


def test_an_older_package_refuses_the_newer_ledger_and_names_the_backup_that_brings_it_back(
    machine: Machine, package: Path, sites: list[Site]
) -> None:
    site = sites[0]
    older = site.ledger_version() - 1
    assert f"{site.unit} does not start" in install(machine, package)
    said = site.journal()
    assert "error[ledger-too-new]" in said
    (backup,) = set(re.findall(rf"\S*ledger\.db\.v{older}\b", said))
    folder = f"/var/lib/{NAME}/config"
    machine.run(
        "sh", "-c", f"cd {folder} && rm -f ledger.db-wal ledger.db-shm && mv {backup} ledger.db"
    )
    machine.systemctl("reset-failed", site.unit)
    site.start()
    assert site.ledger_version() == older
    eventually("all events", lambda: site.is_delivered)
    site.assert_conserved()


def test_remove_stops_the_units_and_keeps_settings_secrets_and_ledgers(
    machine: Machine, sites: list[Site]
) -> None:
    machine.run("dpkg", "--no-triggers", "--remove", NAME)
    assert sites[0].show("LoadState") == "not-found"
    assert sites[0].show("ActiveState") != "active"
    for path in (f"{ETC}/config.toml", f"{ETC}/config.credentials/segment_write_key"):
        assert (machine.root / path.lstrip("/")).exists()
    assert (sites[0].state / "ledger.db").exists()
    for path in (INSTALLED, "/usr/lib/systemd/system/auth0-segment-poller.service"):
        assert not (machine.root / path.lstrip("/")).exists()


def test_purge_deletes_settings_secrets_and_ledgers_and_follows_no_link(
    machine: Machine, sites: list[Site]
) -> None:
    machine.write(f"{IMPORTANT}/file", "important\n")
    # The user of the service may write to this folder, and root deletes it.
    (sites[0].state / "link").symlink_to(IMPORTANT)
    (sites[1].state / "ledger.db").unlink(missing_ok=True)
    (sites[1].state / "ledger.db").symlink_to(f"{IMPORTANT}/file")
    machine.run("dpkg", "--no-triggers", "--purge", NAME)
    assert left(machine) == []
    assert (machine.root / IMPORTANT.lstrip("/") / "file").read_text() == "important\n"
