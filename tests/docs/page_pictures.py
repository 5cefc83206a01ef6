"""Draw the pictures of the live page: `python -m tests.docs.page_pictures`, in about a minute.

They show the page of the demo in Debian's chromium, without a screen.
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.docs.pictures import COMMAND, IMAGES

_LINK = re.compile(r"http://127\.0\.0\.1:\d+/\?token=\S+")
_WATCHED_MS = 20_000
"""The time for the demo's faults and for some samples of the numbers."""
_WIDE = ViewportSize(width=1280, height=800)
_PHONE = ViewportSize(width=390, height=800)


def opened(browser: Browser, link: str, scheme: Any, size: ViewportSize, view: str) -> Page:
    """Open a view of the page once it has something to show."""
    context = browser.new_context(color_scheme=scheme, viewport=size, timezone_id="UTC")
    page = context.new_page()
    page.goto(link)
    page.wait_for_selector("#rows .good")
    page.locator(f'.views a[href="#{view}"]').click()
    page.wait_for_timeout(_WATCHED_MS)
    return page


def draw(browser: Browser, link: str) -> None:
    """Write a picture of the events, of an opened event on a dark screen, and of a phone."""
    page = opened(browser, link, "light", _WIDE, "live")
    page.screenshot(path=IMAGES / "page-live.png")
    page = opened(browser, link, "dark", _WIDE, "live")
    page.locator("#rows tr", has=page.locator(".good")).first.click()
    page.wait_for_selector("#detail .body")
    page.screenshot(path=IMAGES / "page-event-dark.png")
    page = opened(browser, link, "light", _WIDE, "time")
    page.screenshot(path=IMAGES / "page-over-time.png")
    page = opened(browser, link, "dark", _PHONE, "live")
    page.screenshot(path=IMAGES / "page-phone.png")


def main() -> None:
    """Draw every picture of the page."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        output = Path(name) / "output"
        with (
            output.open("w") as file,
            subprocess.Popen([str(COMMAND), "demo", "--for", "10m"], stdout=file) as demo,
        ):
            while (link := _LINK.search(output.read_text())) is None:
                assert demo.poll() is None, "the demo has ended"
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=arguments
            )
            try:
                draw(browser, link[0])
            finally:
                browser.close()
                demo.terminate()


if __name__ == "__main__":
    main()
