"""The table of live events in a real browser: what appears, what stands still, what opens."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from poller.service.page import viewers
from tests.browser.looking import Desk
from tests.service.page.browsers import login

LOGOUT = {"type": "slo", "date": "2026-11-20T11:59:58.000Z", "client_name": "Shop"}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list of the server's looks at the feed, and whether each found something."""
    made: list[bool] = []
    look = viewers.Viewers._new_rows

    def noted_look(self: viewers.Viewers) -> bytes:
        found = look(self)
        made.append(bool(found))
        return found

    monkeypatch.setattr(viewers.Viewers, "_new_rows", noted_look)
    return made


def test_an_event_appears_within_two_looks_of_the_server_and_without_a_delay_of_the_page(
    desk: Desk, looks: list[bool]
) -> None:
    assert 2 * viewers.TICK_S <= 0.5
    with desk.serve():
        window = desk.look()
        window.page.clock.install()
        window.page.clock.pause_at(datetime.now(UTC) + timedelta(hours=1))  # no timer fires now
        for number in range(1, 10):
            before = len(looks)
            desk.settle()
            under_way = len(looks)  # this look may have begun before the settlement
            window.rows_are(number)
            assert any(looks[before : under_way + 2])
    numbers = [int(each) for each in window.page.evaluate("seen")]
    assert numbers == sorted(numbers)


def test_the_newest_event_is_on_top_with_its_calls_and_its_outcome(desk: Desk) -> None:
    with desk.serve(show="all"):
        desk.settle(login(), LOGOUT, {**login(), "user_id": None})
        window = desk.look()
        window.rows_are(3)
        outcomes = window.page.locator("#rows .sign").all_inner_texts()
        assert outcomes == ["dead letter", "filtered", "forwarded"]
        expect(window.rows.last).to_contain_text("identify, track Logged In")
        expect(window.rows.first).to_contain_text("no user id")


def test_a_filter_finds_events_by_text_type_and_outcome(desk: Desk) -> None:
    with desk.serve(show="all"):
        desk.settle(login(user_name="ada@example.com"), login(user_name="bob@example.com"), LOGOUT)
        window = desk.look()
        window.rows_are(3)
        window.page.get_by_label("Filter", exact=True).fill("BOB")
        window.rows_are(1)
        expect(window.page.locator("#shown")).to_have_text("1 event of the last 3 match the filter")
        desk.settle(login(user_name="bob@example.com"), login(user_name="eve@example.com"))
        window.rows_are(2)
        window.page.get_by_label("Filter", exact=True).fill("")
        window.page.locator("#filter-outcome").select_option("filtered")
        window.rows_are(1)
        window.page.locator("#filter-outcome").select_option("")
        window.page.locator("#filter-type").select_option("s")
        window.rows_are(4)


def test_a_paused_table_stands_still_and_counts(desk: Desk) -> None:
    with desk.serve():
        desk.settle()
        window = desk.look()
        window.rows_are(1)
        window.page.get_by_role("button", name="Pause").click()
        desk.settle(login(), login())
        button = window.page.get_by_role("button", name="Resume · 2 new")
        expect(button).to_have_attribute("aria-pressed", "true")
        window.rows_are(1)
        button.click()
        window.rows_are(3)
        expect(window.page.locator("#say")).to_have_text("Resumed, 2 new events")


def test_the_table_holds_still_under_the_pointer(desk: Desk) -> None:
    with desk.serve():
        desk.settle()
        window = desk.look()
        window.rows.first.hover()
        desk.settle(login(), login())
        expect(window.page.locator("#held")).to_have_text("Held under the pointer · 2 new")
        window.rows_are(1)
        window.page.mouse.move(5, 5)
        window.rows_are(3)


def test_a_row_opens_its_calls_pretty_and_raw(desk: Desk) -> None:
    with desk.serve():
        desk.settle()
        window = desk.look(permissions=["clipboard-read", "clipboard-write"])
        detail = window.open_row("forwarded")
        expect(detail.locator(".body")).to_have_count(2)
        body = detail.locator(".body", has_text="track Logged In")
        body.get_by_role("button", name="Copy track Logged In", exact=True).click()
        pretty = window.page.evaluate("navigator.clipboard.readText()")
        assert pretty == body.locator("pre").inner_text()
        body.get_by_role("button", name="Raw").click()
        raw = body.locator("pre").inner_text()
        assert "\n" not in raw
        assert json.loads(raw) == json.loads(pretty)
        expect(detail).not_to_contain_text("Record of Auth0")


def test_a_row_shows_the_record_beside_its_calls_if_the_settings_show_all(desk: Desk) -> None:
    with desk.serve(show="all"):
        desk.settle(login(), LOGOUT)
        window = desk.look()
        detail = window.open_row("forwarded")
        call, record = (
            detail.locator(".body", has_text=name).bounding_box()
            for name in ("identify", "Record of Auth0")
        )
        assert call is not None
        assert record is not None
        expect(detail.locator(".body", has_text="Record of Auth0")).to_contain_text("203.0.113.9")
        detail.get_by_role("button", name="Newer").click()
        expect(detail).to_contain_text("filtered")
        expect(detail.locator(".body")).to_have_count(1)


def test_the_keyboard_opens_a_row_and_comes_back_to_it(desk: Desk) -> None:
    with desk.serve():
        desk.settle(login(), login())
        window = desk.look()
        window.rows.nth(1).locator("button").focus()
        window.page.keyboard.press("Enter")
        expect(window.page.locator("#detail-title")).to_be_focused()
        expect(window.rows.nth(1).locator("button")).to_have_attribute("aria-expanded", "true")
        window.page.keyboard.press("Escape")
        expect(window.page.locator("#detail")).to_be_hidden()
        expect(window.rows.nth(1).locator("button")).to_be_focused()


HOSTILE = {
    "markup": "<img src=x onerror=alert(1)><script>alert(2)</script>",
    "template": "{{ 7 * 7 }}${7*7}",
    "bidi": "\u202eevil\u2066",
    "control": "a\x1b[31m\x07\x00b",
    "long": "x" * 5000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_record_stays_text(desk: Desk, kind: str) -> None:
    text = HOSTILE[kind]
    with desk.serve(show="all"):
        desk.settle(login(user_name=text, client_name=text, connection=text, extra={text: text}))
        window = desk.look()
        window.page.on("dialog", lambda dialog: window.complaints.append(dialog.message))
        detail = window.open_row("forwarded")
        shown = window.page.locator("main").inner_text()
        assert not window.page.locator("#rows img, #rows script, #detail img, #detail script").all()
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x1b]", shown)
        if kind in {"markup", "template"}:
            expect(detail.locator(".facts")).to_contain_text(text)
        assert window.rows.first.bounding_box()["height"] < 60


def test_a_huge_record_is_cut_for_the_eye_and_whole_for_the_clipboard(desk: Desk) -> None:
    with desk.serve(show="all"):
        desk.settle(login(details=["value"] * 20_000))
        window = desk.look(permissions=["clipboard-read", "clipboard-write"])
        record = window.open_row("forwarded").locator(".body", has_text="Record of Auth0")
        expect(record).to_contain_text("more characters. Copy takes them all.")
        record.get_by_role("button", name="Copy Record of Auth0").click()
        text = window.page.evaluate("navigator.clipboard.readText()")
        assert len(json.loads(text)["details"]) == 20_000
