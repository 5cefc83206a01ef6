"""The wheel and the source distribution: what is in them, and how the package index shows them."""

import re
import subprocess
import tarfile
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

from poller import __version__
from tests.packages.distributions import Distributions, build, tool
from tests.paths import ROOT

SHARE = f"auth0_segment_poller-{__version__}.data/data/share"

OF_THE_POLLER = ("systemd", "config.example.toml")
MANUAL_PAGE_AND_COMPLETIONS = 4


def tracked(*folders: str) -> set[str]:
    """Return the files of these folders that are in the repository."""
    command = [tool("git"), "ls-files", "--", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_and_the_source_distribution_pass_the_checks_of_the_index(
    dist: Distributions,
) -> None:
    for command in (
        [tool("twine"), "check", "--strict", str(dist.wheel), str(dist.source)],
        [tool("check-wheel-contents"), str(dist.wheel)],
    ):
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_wheel_holds_the_program_and_the_files_around_it_and_nothing_else(
    dist: Distributions,
) -> None:
    found = {name for name in names(dist.wheel) if ".dist-info/" not in name}
    shared = {name for name in found if name.startswith(SHARE)}
    assert found - shared == tracked("poller")
    of_the_poller = {f"auth0-segment-poller/{name}" for name in tracked(*OF_THE_POLLER)}
    of_others = {name.removeprefix("packaging/share/") for name in tracked("packaging/share")}
    assert len(of_others) == MANUAL_PAGE_AND_COMPLETIONS
    assert shared == {f"{SHARE}/{name}" for name in of_the_poller | of_others}


def test_a_wheel_that_is_built_again_from_the_source_distribution_is_the_same(
    dist: Distributions, tmp_path: Path
) -> None:
    with tarfile.open(dist.source) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    again = build(folder, tmp_path / "dist")
    assert again.wheel.read_bytes() == dist.wheel.read_bytes()


def test_the_description_has_no_link_that_only_a_clone_can_follow(dist: Distributions) -> None:
    with ZipFile(dist.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    text = metadata.get_payload()
    assert metadata["Version"] == __version__
    assert metadata["Description-Content-Type"] == "text/markdown"
    targets = re.findall(r"\]\(([^)]*)\)", text)
    assert len(targets) > 20
    assert [target for target in targets if not target.startswith("https://")] == []
    assert "```mermaid" not in text
    assert "## When to use it" in text
