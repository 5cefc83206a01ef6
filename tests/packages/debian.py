"""The Debian package, and a newer version of it with one more step for the ledger."""

import os
import subprocess
from pathlib import Path

from poller import __version__
from tests.packages.distributions import tool
from tests.paths import ROOT

NAME = "auth0-segment-poller"
NEWER = f"{__version__}+newer"
_PROGRAM = "opt/auth0-segment-poller/lib/python3.*/site-packages/poller"
_STEPS = "adapters/sql_ledger/sqlite/migration_steps"
_BUILT_AT = "1790000000"
_ONE_MORE_STEP = """
STEPS = (*STEPS, lambda connection: connection.execute(text("CREATE TABLE later (x INTEGER)")))
"""


def run(*command: str) -> str:
    environ = {**os.environ, "SOURCE_DATE_EPOCH": _BUILT_AT}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def build(wheel: Path, folder: Path, *, clone: Path = ROOT) -> Path:
    """Return the package of the wheel. Its list of parts lies beside it."""
    for needed in ("uv", "nfpm", "cyclonedx-py", "dpkg-deb"):
        tool(needed)
    run(str(clone / "packaging/deb.sh"), str(wheel), str(folder))
    (package,) = folder.glob("*.deb")
    return package


def unpacked(package: Path, folder: Path) -> Path:
    run(tool("dpkg-deb"), "--raw-extract", str(package), str(folder))
    return folder


def newer(tree: Path, package: Path) -> Path:
    """Turn the files of a package into those of a later version, and return its package."""
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(__version__, NEWER, 1))
    (program,) = tree.glob(_PROGRAM)
    steps = program / f"{_STEPS}.py"
    steps.write_text(f"{steps.read_text()}{_ONE_MORE_STEP}")
    for compiled in steps.parent.glob("__pycache__/migration_steps.*"):
        compiled.unlink()
    run(tool("dpkg-deb"), "--root-owner-group", "-Znone", "--build", str(tree), str(package))
    return package
