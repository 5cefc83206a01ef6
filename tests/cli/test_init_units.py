"""The command `init --systemd` on a machine that lies in a folder."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from poller import cli
from poller.cli.commands import init as command
from poller.cli.setup import service
from tests.paths import ROOT

UNIT, TEMPLATE = "auth0-segment-poller.service", "auth0-segment-poller@.service"
UNITS = sorted(path.name for path in (ROOT / "systemd").glob("*.service"))
ENVIRON = {
    "POLLER_AUTH0__DOMAIN": "acme.us.auth0.com",
    "POLLER_AUTH0__CLIENT_ID": "abc",
    "POLLER_AUTH0__CLIENT_SECRET": "a-secret",
    "POLLER_SEGMENT__WRITE_KEY": "a-write-key",
    "POLLER_SEGMENT__ENDPOINT": "https://api.segment.io",
}


class Host:
    """The folders of a machine, and a systemctl that notes what it is told."""

    def __init__(self, root: Path) -> None:
        self.settings = root / "etc/auth0-segment-poller/config.toml"
        self.units = root / "etc/systemd/system"
        self.until_boot = root / "run/systemd/system"
        self.packaged = root / "usr/lib/systemd/system"
        self.program = root / "opt/bin/auth0-segment-poller"
        self.told = root / "told"
        for folder in (self.units, self.until_boot, self.packaged, self.program.parent):
            folder.mkdir(parents=True)
        self.program.touch()
        systemctl = self.program.with_name("systemctl")
        systemctl.write_text(f'#!/bin/sh\necho "$@" >>{self.told}\n')
        systemctl.chmod(0o755)

    @property
    def copied(self) -> list[str]:
        return sorted(path.name for path in self.units.iterdir() if path.stat().st_size)

    @property
    def commands(self) -> list[str]:
        return self.told.read_text().splitlines() if self.told.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(service, "SYSTEM_FILE", made.settings)
    monkeypatch.setattr(service, "_UNITS", made.units)
    monkeypatch.setattr(service, "_RUNNING", made.until_boot)
    monkeypatch.setattr(service, "_PACKAGED_UNITS", (made.packaged,))
    monkeypatch.setattr(service, "_INSTALLED", made.program)
    monkeypatch.setattr(command, "_check", lambda path: 0)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", f"{made.program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def init(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def run(*names: str) -> int:
        monkeypatch.setattr("sys.argv", ["poller", "init", "--systemd", "--yes", *names])
        return cli.run_command()

    return run


def test_init_copies_the_units_once(host: Host, init: Callable[..., int]) -> None:
    assert init() == 0
    assert host.copied == UNITS
    before = [path.stat().st_mtime_ns for path in sorted(host.units.iterdir())]
    assert init() == 0
    assert [path.stat().st_mtime_ns for path in sorted(host.units.iterdir())] == before
    started = ["daemon-reload", "enable auth0-segment-poller", "restart auth0-segment-poller"]
    assert host.commands == started * 2


def test_the_units_of_a_package_are_left_to_it(host: Host, init: Callable[..., int]) -> None:
    for name in UNITS:
        (host.packaged / name).write_text("[Unit]\nDescription=of a package\n")
    assert init("acme") == 0
    assert host.copied == []
    assert host.settings.with_name("acme.toml").exists()
    assert host.commands[1:] == [
        "enable auth0-segment-poller@acme",
        "restart auth0-segment-poller@acme",
    ]


@pytest.mark.parametrize(
    ("given", "name", "is_until_boot"),
    [
        ("config", UNIT, False),
        ("config", UNIT, True),
        ("acme", "auth0-segment-poller@acme.service", False),
        ("acme", TEMPLATE, False),
    ],
)
def test_a_masked_unit_is_refused_with_the_command_that_unmasks_it(
    host: Host,
    init: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    given: str,
    name: str,
    is_until_boot: bool,
) -> None:
    folder = host.until_boot if is_until_boot else host.units
    (folder / name).symlink_to("/dev/null")
    assert init(given) == 2
    option = "--runtime " if is_until_boot else ""
    assert f"`systemctl unmask {option}{name}`" in " ".join(capsys.readouterr().err.split())
    assert not host.settings.parent.exists()
    assert host.commands == []


def test_an_empty_unit_counts_as_masked(host: Host, init: Callable[..., int]) -> None:
    (host.units / UNIT).touch()
    assert init() == 2
    assert host.commands == []


def test_a_mask_of_another_unit_stays(host: Host, init: Callable[..., int]) -> None:
    (host.units / TEMPLATE).symlink_to("/dev/null")
    assert init() == 0
    assert (host.units / TEMPLATE).is_symlink()
    assert host.copied == [name for name in UNITS if name != TEMPLATE]


def test_a_service_that_systemd_does_not_start_is_no_success(
    host: Host, init: Callable[..., int]
) -> None:
    host.program.with_name("systemctl").write_text('#!/bin/sh\ntest "$1" != enable\n')
    assert init() == 78
