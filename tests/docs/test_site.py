"""The pages make a site: every page is in its navigation, and a strict build finds no dead link."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.pages import FILES
from tests.paths import ROOT

CONFIG = ROOT / "mkdocs.yml"


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r": ([\w/-]+\.md)$", CONFIG.read_text(), re.MULTILINE)
    pages = [str(file.relative_to(ROOT / "docs")) for file in FILES if file.parent != ROOT]
    assert sorted(listed) == sorted(pages)


@pytest.mark.skipif(find_spec("zensical") is None, reason="zensical is not installed")
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    shutil.copy(CONFIG, tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    for name in ("index.html", "runbook/index.html", "images/demo.svg"):
        assert (tmp_path / "build/site" / name).exists()


def test_every_picture_is_of_a_command_and_says_nothing_of_the_machine_it_was_made_on() -> None:
    pictures = sorted((ROOT / "docs/images").glob("*.svg"))
    assert {picture.stem for picture in pictures} >= {"check", "preview", "status", "backfill"}
    for picture in pictures:
        text = picture.read_text()
        assert f"$&#160;auth0-segment-poller&#160;{picture.stem}" in text
        assert not re.search(r"/(tmp|root|home)/", text)
        assert set(re.findall(r"https?://[\w.]+", text)) <= {
            "http://www.w3.org",
            "https://www.textualize.io",
            "http://127.0.0.1",
        }


def test_a_picture_of_the_live_page_is_small_and_shown_in_its_guide() -> None:
    pictures = sorted((ROOT / "docs/images").glob("*.png"))
    guide = (ROOT / "docs/guides/live-page.md").read_text()
    assert all(picture.stat().st_size < 200_000 for picture in pictures)
    assert [picture.name for picture in pictures if picture.name not in guide] == []
