"""A page that is open for long: bursts, restarts of the daemon, and a layout that stands still."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from poller.service.watching.feed import Feed
from tests.browser.looking import Desk
from tests.scripted import silent_port
from tests.service.page.browsers import login

WIDTHS = {"phone": 360, "tablet": 800, "laptop": 1280, "wide": 2400}
VIEWS = ["live", "time", "now", "letters"]


def used_mib(page: Page) -> float:
    """Return the memory that the page's script holds after a collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used: dict[str, Any] = session.send("Runtime.getHeapUsage")
    session.detach()
    return float(used["usedSize"]) / 2**20


@pytest.fixture
def port() -> Iterator[int]:
    with silent_port() as held:
        yield held


def test_ten_thousand_events_do_not_let_the_page_grow(desk: Desk) -> None:
    """They come as fast as the page takes them, so in much less than a minute."""
    burst = [login(user_name="x" * 50)] * 100
    with desk.serve(show="all"):
        window = desk.look()
        used = []
        for number in range(1, 101):
            desk.settle(*burst)
            if number % 10 == 0:
                newest = window.page.locator(f'#rows tr[data-number="{number * 100}"]')
                expect(newest).to_have_count(1)
                used.append(used_mib(window.page))
        assert window.page.locator("#rows tr").count() <= 200
        assert window.page.evaluate("document.querySelectorAll('*').length") < 4000
        # The first thousand fills the memory of the page. What follows replaces it.
        assert max(used[5:]) < max(used[:5]) + 3, used
        expect(window.page.locator("#shown")).to_have_text("1,000 events")


def test_nothing_moves_while_events_come(desk: Desk) -> None:
    places = """() => [...document.querySelectorAll(
        '.bar, .figures dd, .tools > *, .events th, #scroll, .foot'
    )].map((each) => JSON.stringify(each.getBoundingClientRect()))"""
    with desk.serve(show="all"):
        desk.settle(login())
        window = desk.look()
        window.rows_are(1)
        expect(window.page.locator("#figure-daemon")).to_have_text("running")
        before = window.page.evaluate(places)
        kinds = [login(user_name="x" * 300, connection="y" * 300), {"type": "seccft"}, {}]
        for number, kind in enumerate(kinds * 10, 2):
            desk.settle(kind)
            window.rows_are(number)
        assert window.page.evaluate(places) == before


def test_the_page_goes_on_after_a_restart_of_the_daemon(desk: Desk, port: int) -> None:
    with desk.serve(port=port):
        desk.settle(login("auth0|before"), login("auth0|before"))
        window = desk.look()
        window.rows_are(2)
    expect(window.page.locator("#link")).not_to_have_attribute("data-state", "live")
    desk.feed = Feed(now=lambda: datetime.now(UTC))
    desk.settle(login("auth0|after"), login("auth0|after"), login("auth0|after"))
    with desk.serve(port=port):
        expect(window.page.locator("#link-text")).to_have_text("Live")
        window.rows_are(3)
        expect(window.page.locator("#rows")).not_to_contain_text("auth0|before")
        desk.settle(login("auth0|new"))
        expect(window.rows.first).to_contain_text("auth0|new")
        expect(window.open_row("auth0|new")).to_contain_text("track Logged In")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_into_every_window(desk: Desk, width: str) -> None:
    with desk.serve(show="all"):
        desk.settle(login(user_name="x" * 200), {"type": "seccft"}, {**login(), "user_id": None})
        window = desk.look(viewport={"width": WIDTHS[width], "height": 800})
        window.rows_are(3)
        for view in VIEWS:
            window.open(view)
            wide = window.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= WIDTHS[width], view
