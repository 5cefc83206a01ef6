"""The units of `init --systemd`, and the machine that they need."""

import os
import re
import subprocess
import sys
from pathlib import Path

import click

from poller.cli.setup.files import NewFile, shared_file
from poller.cli.views.output import say
from poller.config.sources.paths import PROGRAM, SYSTEM_FILE

_INSTALLED = Path("/opt/auth0-segment-poller/bin/auth0-segment-poller")
"""The program that the units start."""
_UNITS = Path("/etc/systemd/system")
_RUNNING = Path("/run/systemd/system")
"""The folder that exists while systemd runs the machine. It holds units until the next boot."""
_PACKAGED_UNITS = (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system"))
_SERVICE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")


def service_settings(name: Path | None) -> Path:
    """Return the settings file of a service, and make sure that this machine can run one."""
    if name is None:
        name = SYSTEM_FILE
    path = SYSTEM_FILE.with_name(f"{name.stem}.toml")
    if name not in {Path(path.stem), Path(path.name), path} or not _SERVICE_NAME.fullmatch(
        path.stem
    ):
        raise click.UsageError(
            "with --systemd, FILE is a name of at most 24 characters of a-z, 0-9 and -, such as "
            "acme"
        )
    if os.geteuid() != 0:
        raise click.UsageError("--systemd writes to /etc: run it as root")
    if not _RUNNING.is_dir():
        raise click.UsageError("systemd does not run on this machine: leave off --systemd")
    if not _INSTALLED.exists():
        raise click.UsageError(
            f"the units start {_INSTALLED}, which is not there: install the program as in the guide"
        )
    _refuse_masked(path)
    return path


def _refuse_masked(path: Path) -> None:
    """Refuse a unit that the administrator has forbidden, alone or with all of its template."""
    unit = unit_of(path)
    names = [f"{unit}.service"]
    if "@" in unit:
        names.append(f"{PROGRAM}@.service")
    for folder, option in ((_UNITS, ""), (_RUNNING, "--runtime ")):
        for name in names:
            # A mask is a link to /dev/null, or an empty file (systemd.unit(5)).
            if (folder / name).exists() and not (folder / name).stat().st_size:
                raise click.UsageError(
                    f"{folder / name} masks the unit, so systemd never starts it: "
                    f"`systemctl unmask {option}{name}` allows it again"
                )


def unit_of(path: Path) -> str:
    """Return the name of the unit that runs on these settings."""
    return PROGRAM if path == SYSTEM_FILE else f"{PROGRAM}@{path.stem}"


def missing_units() -> list[NewFile]:
    """Return the units that are missing or differ. Those of a package, and links, stay."""
    units = []
    for source in sorted(shared_file("systemd").glob("*.service")):
        path, text = _UNITS / source.name, source.read_text(encoding="utf-8")
        is_packaged = any((folder / source.name).exists() for folder in _PACKAGED_UNITS)
        # A link is the administrator's, such as that of `systemctl mask`.
        is_kept = is_packaged or path.is_symlink()
        if not is_kept and not (path.exists() and path.read_text(encoding="utf-8") == text):
            units.append(NewFile(path=path, content=text, mode=0o644, folder_mode=0o755))
    return units


def systemctl(*arguments: str) -> bool:
    """Show a command of systemd and run it. Return whether it succeeded."""
    say(f"Run systemctl {' '.join(arguments)}")
    sys.stdout.flush()
    ended = subprocess.run(["systemctl", *arguments], check=False)  # noqa: S603, S607 - root's PATH
    return ended.returncode == 0
