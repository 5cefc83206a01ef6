"""The wheel as people install it: with uv, with pipx, and with completions in three shells."""

import os
import subprocess
from pathlib import Path

import pytest

from poller import __version__
from tests.packages.distributions import Distributions, tool
from tests.packages.shells import NAME, bash_offers, fish_offers, zsh_completes

LETTERS = {"list", "show", "replay", "discard"}


def run(*command: str, environ: dict[str, str] | None = None) -> str:
    ended = subprocess.run(
        command, env=os.environ | (environ or {}), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="session")
def by_uv(dist: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the environment that `uv tool install` makes."""
    folder = tmp_path_factory.mktemp("uv")
    environ = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    run(tool("uv"), "tool", "install", "--quiet", str(dist.wheel), environ=environ)
    assert (folder / "bin" / NAME).exists()
    return folder / "tools" / NAME


def test_a_demo_runs_where_uv_has_installed_the_program(by_uv: Path) -> None:
    assert "nothing was lost" in run(str(by_uv / "bin" / NAME), "demo", "--for", "1s")


def test_pipx_installs_the_program_and_its_manual_page(dist: Distributions, tmp_path: Path) -> None:
    places = {"PIPX_HOME": "home", "PIPX_BIN_DIR": "bin", "PIPX_MAN_DIR": "man"}
    environ = {name: str(tmp_path / folder) for name, folder in places.items()}
    run(tool("pipx"), "install", str(dist.wheel), environ=environ)
    assert __version__ in run(str(tmp_path / "bin" / NAME), "--version")
    assert (tmp_path / f"man/man1/{NAME}.1").exists()


def test_man_finds_nothing_to_complain_about_in_the_manual_page(by_uv: Path) -> None:
    page = by_uv / f"share/man/man1/{NAME}.1"
    command = [tool("groff"), "-ww", "-man", "-Tutf8", "-z", str(page)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_bash_completes_a_command(by_uv: Path) -> None:
    tool("bash")
    assert bash_offers(by_uv, "dead-letters", "") == LETTERS


def test_fish_completes_a_command(by_uv: Path) -> None:
    tool("fish")
    assert fish_offers(by_uv, "dead-letters", "") == LETTERS


def test_zsh_completes_a_command(by_uv: Path) -> None:
    tool("zsh")
    zsh_completes(by_uv, f"{NAME} dead-letters sh", "ow")
