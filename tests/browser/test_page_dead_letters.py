"""Dead letters on the page: the list, the detail, and the actions with a confirmation."""

import pytest
from playwright.sync_api import Locator, expect

from poller.core.errors import TransientError
from tests.browser.letters import Letters
from tests.browser.looking import Desk, Window


@pytest.fixture
def letters() -> Letters:
    return Letters("900-1", "900-2")


def opened(desk: Desk) -> Window:
    window = desk.look()
    window.open("letters")
    expect(window.page.locator("#letters tbody tr")).not_to_have_count(0)
    return window


def button_of_reason(window: Window, action: str) -> Locator:
    name = f"{action} all with this reason: 2 dead letters (no user id)"
    return window.page.get_by_role("button", name=name)


def test_a_dead_letter_is_replayed_once_somebody_confirms(desk: Desk, letters: Letters) -> None:
    with desk.serve(dead_letters=letters):
        window = opened(desk)
        window.page.get_by_role("button", name="900-1").click()
        detail = window.page.locator("#letters .detail")
        expect(detail).to_contain_text("no user id")
        expect(detail.locator("dd code").first).to_have_text("no_user_id")
        detail.get_by_role("button", name="Replay").click()
        dialog = window.page.locator("#ask")
        expect(dialog).to_contain_text("Replay dead letter 900-1?")
        dialog.get_by_role("button", name="Replay").click()
        expect(window.page.locator("#letters tbody tr")).to_have_count(1)
        expect(window.page.locator("#say")).to_contain_text("Done: 1 replayed.")
    assert letters.acted == [("replay", "900-1", "")]


def test_all_dead_letters_of_a_reason_are_discarded_at_once(desk: Desk, letters: Letters) -> None:
    with desk.serve(dead_letters=letters):
        window = opened(desk)
        button_of_reason(window, "Discard").click()
        dialog = window.page.locator("#ask")
        expect(dialog).to_contain_text("This is for good")
        dialog.get_by_role("button", name="Discard").click()
        expect(window.page.locator("#letters tbody tr")).to_have_count(0)
        expect(window.page.locator("#letters")).to_contain_text("Done")
    assert letters.acted == [("discard", "", "no_user_id")]


@pytest.mark.parametrize("key", ["Escape", "Enter"])
def test_without_a_confirmation_nothing_happens(desk: Desk, letters: Letters, key: str) -> None:
    """The button that changes nothing has the focus, so Enter alone changes nothing."""
    with desk.serve(dead_letters=letters):
        window = opened(desk)
        button_of_reason(window, "Discard").click()
        expect(window.page.locator("#ask-no")).to_be_focused()
        window.page.keyboard.press(key)
        expect(window.page.locator("#ask")).to_be_hidden()
        window.page.get_by_role("button", name="900-1").click()
        expect(window.page.locator("#letters .detail")).to_be_visible()
    assert letters.acted == []


def test_a_failed_action_says_why_and_the_list_stays(desk: Desk, letters: Letters) -> None:
    letters.fails = TransientError("Segment answered 503: type `check`")
    with desk.serve(dead_letters=letters):
        window = opened(desk)
        window.expected = "status of 502"
        button_of_reason(window, "Replay").click()
        window.page.locator("#ask-yes").click()
        said = window.page.locator("#letters > p").first
        expect(said).to_have_text("It failed: Segment answered 503: type check")
        expect(said.locator("code")).to_have_text("check")
        expect(window.page.locator("#letters tbody tr")).to_have_count(2)
