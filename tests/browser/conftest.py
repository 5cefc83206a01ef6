"""One browser for all tests of the tier, and a desk for each of them."""

import os
import shutil
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="needs playwright: pip install -e '.[dev]'")

from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.looking import PATIENCE_MS, Desk
from tests.paths import TESTS

CHROMIUM = shutil.which("chromium")
AXE = TESTS / "browser/axe/node_modules/axe-core/axe.min.js"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    # The sandbox of chromium refuses to run as root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*arguments, "--js-flags=--expose-gc"]
        )
        yield browser
        browser.close()


@pytest.fixture
def desk(chromium: Browser) -> Iterator[Desk]:
    """A page that is not served yet. No window may have complained in the end."""
    desk = Desk(chromium=chromium)
    yield desk
    violations = [
        directive
        for context in desk.contexts
        for page in context.pages
        for directive in page.evaluate("window.violations ?? []")
    ]
    complaints = [complaint for window in desk.windows for complaint in window.complaints]
    desk.close()
    assert (violations, complaints) == ([], [])


@pytest.fixture(scope="session")
def axe() -> str:
    """The rules of accessibility, as a script."""
    if not AXE.exists():
        pytest.skip("needs axe-core: npm install --prefix tests/browser/axe --no-package-lock")
    return AXE.read_text()
