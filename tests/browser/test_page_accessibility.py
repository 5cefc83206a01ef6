"""The page for everybody: the rules of axe-core, the keyboard, and what a screen reader is told."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.letters import Letters
from tests.browser.looking import Desk, severe
from tests.browser.states import BLOCKED
from tests.service.page.browsers import login


@pytest.mark.parametrize(("scheme", "width"), [("light", 390), ("dark", 1440)])
def test_axe_finds_nothing_serious(desk: Desk, axe: str, scheme: Any, width: int) -> None:
    desk.change(condition=BLOCKED)
    with desk.serve(show="all", dead_letters=Letters("900-1", "900-2")):
        desk.settle(login(), {"type": "seccft"}, {**login(), "user_id": None})
        window = desk.look(
            color_scheme=scheme,
            reduced_motion="reduce",
            viewport={"width": width, "height": 900},
        )
        window.rows_are(3)
        found = {"live": severe(window.page, axe)}
        window.open_row("forwarded")
        found["row"] = severe(window.page, axe)
        window.page.keyboard.press("Escape")
        for view in ("time", "now", "letters"):
            window.open(view)
            found[view] = severe(window.page, axe)
        window.page.get_by_role("button", name="900-1").click()
        expect(window.page.locator("#letters .detail")).to_be_visible()
        window.page.locator("#letters .detail").get_by_role("button", name="Discard").click()
        found["letter"] = severe(window.page, axe)
        window.page.keyboard.press("Escape")
    assert found == {name: [] for name in found}


def test_new_events_are_not_read_aloud(desk: Desk) -> None:
    with desk.serve():
        window = desk.look()
        for number in range(1, 4):
            desk.settle()
            window.rows_are(number)
        expect(window.page.locator("#say")).to_have_text("")
        live = window.page.locator("[aria-live], [role=status], [role=alert], [role=log]")
        assert live.evaluate_all("(found) => found.map((each) => each.id)") == ["say"]


def test_the_whole_page_is_reached_by_the_keyboard_and_shows_the_focus(desk: Desk) -> None:
    with desk.serve():
        desk.settle()
        window = desk.look()
        window.rows_are(1)
        reached = []
        for _ in range(14):
            window.page.keyboard.press("Tab")
            name, outline = window.page.evaluate(
                """() => {
                    const at = document.activeElement;
                    const style = getComputedStyle(at);
                    const text = at.id || at.className || at.textContent.trim();
                    return [text, style.outlineStyle !== 'none' || style.boxShadow !== 'none'];
                }"""
            )
            reached.append(name)
            assert outline, name
            if name == "time":
                break
    assert reached[0] == "skip"
    assert {"Live", "Now", "filter-text", "filter-type", "pause", "scroll", "time"} <= {*reached}
