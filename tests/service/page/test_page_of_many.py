"""The page of many pipelines: all of them in a table, and each one by its name."""

from collections.abc import Iterator

import pytest

from poller.service.page.parts import PageParts
from poller.service.watching.feed import Feed
from tests.service.page.browsers import (
    BLOCKED,
    WELL,
    Browser,
    FakeLetters,
    login,
    parts_of,
    served_many,
    settled,
)

STATE = {"code": 78, "pipelines": [BLOCKED, WELL]}


@pytest.fixture
def known() -> dict[str, PageParts]:
    return {name: parts_of(Feed(), dead_letters=FakeLetters("1")) for name in ("well", "blocked")}


@pytest.fixture
def browser(known: dict[str, PageParts]) -> Iterator[Browser]:
    with served_many(known.get, STATE) as made:
        yield made.sign_in()


def test_the_overview_shows_all_pipelines_in_their_order_and_leads_to_each(
    browser: Browser,
) -> None:
    text = browser.ask("/").body.decode()
    assert text.index("/pipelines/blocked/") < text.index("/pipelines/well/")
    assert "/readyz?pipeline=blocked" in text
    assert "&lt;b&gt;refused" in text
    assert "look by <code>check</code>" in text
    assert "freshness 3 h" in text
    assert browser.ask("/state").json == STATE


def test_the_page_tells_whether_a_pipeline_is_ready(browser: Browser) -> None:
    assert browser.ask("/readyz?pipeline=well").status == 200
    late = browser.ask("/readyz?pipeline=blocked")
    assert (late.status, late.body) == (503, b"it is late\n")


def test_each_pipeline_has_a_page_of_its_own_events(
    browser: Browser, known: dict[str, PageParts]
) -> None:
    known["well"].feed.count_settled(settled(login("auth0|1")))
    assert "well</strong>" in browser.ask("/pipelines/well/").body.decode()
    with browser.stream("/pipelines/well/stream") as events:
        name, data = next(events)
        assert (name, data["rows"][0]["user"]) == ("events", "auth0|1")
    assert browser.ask("/pipelines/well/events/1").status == 200
    assert browser.ask("/pipelines/blocked/events/1").status == 404
    assert browser.ask("/pipelines/well/history").status == 200


def test_a_page_begins_anew_with_the_settings_of_its_pipeline(
    browser: Browser, known: dict[str, PageParts]
) -> None:
    assert browser.ask("/pipelines/well/state").json == {"problem": None}
    known["well"] = parts_of(Feed(), state=lambda: {"problem": "new"})
    assert browser.ask("/pipelines/well/state").json == {"problem": "new"}
    del known["well"]
    assert browser.ask("/pipelines/well/state").status == 404


@pytest.mark.parametrize("path", ["/", "/state", "/readyz?pipeline=well", "/pipelines/well/state"])
def test_a_browser_without_the_secret_sees_nothing(path: str, browser: Browser) -> None:
    assert Browser(port=browser.port).ask(path).status == 401


def test_the_token_of_an_action_belongs_to_its_pipeline(
    browser: Browser, known: dict[str, PageParts]
) -> None:
    letters = browser.ask("/pipelines/well/dead-letters").json["letters"]
    form = f"log_id=1&confirmed=yes&token={letters[0]['tokens']['discard']}"
    kind = {"Content_Type": "application/x-www-form-urlencoded"}

    def discard(name: str) -> int:
        return browser.ask(f"/pipelines/{name}/dead-letters/discard", "POST", form, **kind).status

    assert discard("blocked") == 403
    assert discard("well") == 200
    fake = known["well"].dead_letters
    assert isinstance(fake, FakeLetters)
    assert fake.acted == [("discard", "1", "")]
