"""The state of the daemon on the page: what stops it, where it stands, and how it went."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from poller.service.page import viewers
from tests.browser.looking import Desk
from tests.browser.states import BLOCKED, POSTPONED, RUNNING, sample_of


@pytest.fixture(autouse=True)
def state_at_each_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers, "STATE_TICKS", 1)


def test_a_blocked_daemon_says_what_to_type_until_it_recovers(desk: Desk) -> None:
    with desk.serve():
        window = desk.look()
        alarm, condition = window.page.locator("#alarm"), window.page.locator("#figure-daemon")
        expect(condition).to_have_text("running")
        expect(alarm).to_be_hidden()
        desk.change(condition=BLOCKED)
        expect(alarm).to_contain_text("error[auth0-scope-missing]: Auth0 answered 403 to logs")
        expect(alarm).not_to_contain_text("`")
        expect(alarm.locator(".type-this code")).to_have_text("auth0-segment-poller check")
        expect(window.page.locator("#say")).to_have_text("The daemon is blocked now")
        window.open("now")
        expect(alarm).to_be_visible()
        expect(window.page.locator("#now")).not_to_contain_text("`")
        desk.change(condition=RUNNING)
        expect(alarm).to_be_hidden()
        expect(condition).to_have_text("running")


def test_a_postponed_daemon_says_why_and_when_it_tries_again(desk: Desk) -> None:
    with desk.serve():
        desk.change(condition=POSTPONED)
        window = desk.look()
        alarm = window.page.locator("#alarm")
        expect(alarm).to_contain_text("Segment answered 503")
        expect(alarm).to_contain_text("tries again by itself at 2026-11-20 12:00:30")
        expect(alarm.locator("code")).to_have_count(0)


def test_the_page_tells_the_position_the_work_and_the_truth(desk: Desk) -> None:
    with desk.serve():
        window = desk.look()
        window.open("now")
        now = window.page.locator("#now")
        expect(now).to_contain_text("The tenant removes its log after 30 d")
        expect(now).to_contain_text("60 %")
        expect(now).to_contain_text("2 missing")
        expect(now).to_contain_text("removed by retention")


def test_each_drawing_says_its_content_and_has_a_table(desk: Desk) -> None:
    with desk.serve():
        window = desk.look()
        window.open("time")
        cards = window.page.locator("#time .card")
        expect(cards.locator(".drawing svg[role=img]")).to_have_count(5)
        for card in cards.all():
            summary = card.locator("> p").inner_text()
            label = card.locator("svg[role=img]").get_attribute("aria-label")
            assert summary == label
            card.locator("summary").click()
            expect(card.locator("table tbody tr").first).to_be_visible()
        expect(cards.first).to_contain_text("gap: removed before it was read 60 min")
        expect(cards.first.locator("svg rect.f-bad")).not_to_have_count(0)


def test_a_sentence_says_which_new_events_are_settled(desk: Desk) -> None:
    at = datetime.now(UTC)
    with desk.serve():
        window = desk.look()
        window.open("time")
        said = window.page.locator("#time .card", has_text="Freshness and backlog").locator("> p")
        desk.change(sample=sample_of(at + timedelta(seconds=10), freshness_seconds=0.2))
        expect(said).to_contain_text("Every new event is settled: forwarded,")
        desk.change(sample=sample_of(at + timedelta(seconds=20), freshness_seconds=25.0))
        expect(said).to_contain_text("Every new event but those of the last 25 s is settled")


def test_the_events_of_a_minute_are_counted_from_samples(desk: Desk) -> None:
    now = datetime.now(UTC)
    desk.change(sample=None)
    with desk.serve():
        window = desk.look()
        window.open("time")
        card = window.page.locator("#time .card", has_text="Events a minute")
        expect(card.locator("> p")).to_contain_text("0 events forwarded")
        desk.change(sample=sample_of(now + timedelta(minutes=1), forwarded=7))
        expect(card.locator("> p")).to_contain_text("7 events forwarded")
        desk.change(sample=sample_of(now + timedelta(minutes=2), forwarded=3))  # another run
        expect(card.locator("> p")).to_contain_text("10 events forwarded")


def test_a_ledger_that_cannot_be_read_is_told_and_the_events_go_on(desk: Desk) -> None:
    with desk.serve():
        desk.change(problem="the ledger is locked", status=None, ranges=[], slices=[])
        window = desk.look()
        expect(window.page.locator("#alarm")).to_contain_text("the ledger is locked")
        desk.settle()
        window.rows_are(1)
        for view in ("time", "now", "letters"):
            window.open(view)
