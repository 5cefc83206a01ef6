"""The wheel and the source distribution, built without the network, and the tools for them."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.paths import ROOT

OFFLINE = ("unshare", "--user", "--map-root-user", "--net")
"""The prefix of a command that must not see the network. It needs no root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distributions:
    """The files that a release uploads."""

    wheel: Path
    source: Path


def tool(name: str) -> str:
    """Return the path of a tool, or skip the test: `nox -s packages` installs all of them."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}: run `nox -s packages`")
    return found


def build(source: Path, folder: Path) -> Distributions:
    """Build the wheel and the source distribution without the network."""
    command = [tool("pyproject-build"), "--no-isolation", "--outdir", str(folder), str(source)]
    built = subprocess.run([*OFFLINE, *command], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Distributions(wheel=wheel, source=archive)


def pinned(name: str) -> dict[str, str]:
    """Return the versions in a file of pinned ones, by the name of the library."""
    text = (ROOT / "packaging" / name).read_text()
    return dict(re.findall(r"^([\w.-]+)(?:\[\w+\])?==([\w.]+) ", text, re.MULTILINE))
