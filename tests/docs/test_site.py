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
