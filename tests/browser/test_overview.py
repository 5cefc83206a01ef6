"""The page of many pipelines in a browser: the table, the way to a pipeline, and back."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from poller.service.watching.feed import Feed
from tests.browser.looking import PATIENCE_MS, severe
from tests.browser.states import state_of
from tests.service.page.browsers import BLOCKED, TOKEN, WELL, login, parts_of, served_many, settled


class Overview:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.feed = Feed()
        self.state: dict[str, Any] = {"code": 78, "pipelines": [BLOCKED, WELL]}
        self.parts = parts_of(self.feed, state=state_of)

    def names(self) -> list[str]:
        return self.page.locator("tbody th").all_inner_texts()


@pytest.fixture
def overview(chromium: Browser) -> Iterator[Overview]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []
    made = Overview(context.new_page())
    made.page.on("pageerror", lambda error: complaints.append(str(error)))
    with served_many(lambda name: made.parts if name == "well" else None, made.state) as browser:
        made.page.clock.install()
        made.page.goto(f"http://127.0.0.1:{browser.port}/?token={TOKEN}")
        yield made
        context.close()
    assert complaints == []


def test_the_way_leads_to_the_live_events_of_a_pipeline_and_back(overview: Overview) -> None:
    page = overview.page
    assert overview.names() == ["blocked", "well"]
    page.get_by_role("link", name="well").click()
    expect(page.locator("#link-text")).to_have_text("Live")
    overview.feed.count_settled(settled(login("auth0|1")))
    page.clock.fast_forward(1000)
    expect(page.locator("#rows tr[data-number]")).to_have_count(1)
    page.get_by_role("link", name="All pipelines").click()
    expect(page.locator("tbody th")).to_have_count(2)


def test_the_table_follows_the_pipelines_without_a_reload(overview: Overview) -> None:
    overview.state["pipelines"] = [WELL]
    overview.page.clock.fast_forward(10_000)
    expect(overview.page.locator("tbody th")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_table(overview: Overview, axe: str, scheme: Any) -> None:
    overview.page.emulate_media(color_scheme=scheme)
    assert severe(overview.page, axe) == []
