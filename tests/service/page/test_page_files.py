"""The files of the page: each one is served, and none leads to another server."""

import re
from pathlib import Path

import pytest

from poller.service.page import routes
from poller.service.watching.feed import Feed
from tests.paths import ROOT
from tests.service.page.browsers import served

FOLDER = ROOT / "poller/service/page"
STATIC = sorted((FOLDER / "static").iterdir())
FILES = [*STATIC, *sorted((FOLDER / "templates").iterdir())]
ADDRESS = re.compile(r"(?:https?:)?//[\w.-]+\.\w+[\w/]*|@import|url\(")
OWN = {"http://www.w3.org/2000/svg"}
"""The name of a kind of document, which no browser fetches."""
NAMED = re.compile(r"(?:/static/|from \"\./)([\w.]+)")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_the_page_leads_to_no_other_server(path: Path) -> None:
    assert set(ADDRESS.findall(path.read_text())) <= OWN


def test_every_file_that_the_page_names_is_served() -> None:
    named = {name for path in FILES for name in NAMED.findall(path.read_text())}
    assert named == {path.name for path in STATIC}
    with served(Feed()) as browser:
        for path in STATIC:
            answer = browser.ask(f"/static/{path.name}")
            kind = answer.headers["Content-Type"].split(";")[0]
            assert (answer.status, kind) == (200, routes._TYPES[path.suffix])
            assert answer.body == path.read_bytes()


def test_the_page_works_without_styles_and_scripts_in_its_markup() -> None:
    """The security policy allows neither."""
    for path in (FOLDER / "templates").iterdir():
        assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)", path.read_text())
