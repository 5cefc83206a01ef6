"""An action of the page needs a token of its own and a confirmation, and one runs at a time."""

import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from poller.core.errors import FatalError
from poller.service.page import actions
from poller.service.watching.feed import Feed
from tests.service.page.browsers import PATIENCE_S, Answer, Browser, FakeLetters, served

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def letters() -> FakeLetters:
    return FakeLetters("1", "2")


@pytest.fixture
def browser(letters: FakeLetters) -> Iterator[Browser]:
    with served(Feed(), dead_letters=letters) as opened:
        yield opened.sign_in()


def act(browser: Browser, action: str, **form: str) -> Answer:
    return browser.ask(f"/dead-letters/{action}", "POST", urlencode(form), **FORM)


def tokens_of(browser: Browser, log_id: str) -> dict[str, str]:
    found: dict[str, str] = browser.ask(f"/dead-letters/{log_id}").json["tokens"]
    return found


def test_the_list_goes_on_above_the_last_id(browser: Browser) -> None:
    whole = browser.ask("/dead-letters").json
    assert [each["log_id"] for each in whole["letters"]] == ["1", "2"]
    assert [(each["reason"], each["count"]) for each in whole["reasons"]] == [("no_user_id", 2)]
    rest = browser.ask("/dead-letters?after=1&reason=no_user_id").json
    assert [each["log_id"] for each in rest["letters"]] == ["2"]
    assert browser.ask("/dead-letters/3").status == 404


@pytest.mark.parametrize("action", ["replay", "discard"])
def test_a_confirmed_action_with_its_token_is_done(
    browser: Browser, letters: FakeLetters, action: str
) -> None:
    token = tokens_of(browser, "1")[action]
    assert act(browser, action, log_id="1", token=token, confirmed="yes").status == 200
    (reason,) = browser.ask("/dead-letters").json["reasons"]
    form = {"reason": "no_user_id", "token": reason["tokens"][action], "confirmed": "yes"}
    assert act(browser, action, **form).status == 200
    assert letters.acted == [(action, "1", ""), (action, "", "no_user_id")]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"token": ""}, 403),
        ({"token": "x" * 64}, 403),
        ({"log_id": "2"}, 403),
        ({"confirmed": ""}, 400),
        ({"log_id": ""}, 400),
        ({"reason": "no_user_id"}, 400),
    ],
)
def test_an_action_without_its_token_or_confirmation_is_refused(
    browser: Browser, letters: FakeLetters, change: dict[str, str], status: int
) -> None:
    form = {"log_id": "1", "token": tokens_of(browser, "1")["discard"], "confirmed": "yes"}
    assert act(browser, "discard", **(form | change)).status == status
    assert letters.acted == []


def test_the_token_of_a_replay_does_not_discard(browser: Browser, letters: FakeLetters) -> None:
    token = tokens_of(browser, "1")["replay"]
    assert act(browser, "discard", log_id="1", token=token, confirmed="yes").status == 403
    assert letters.acted == []


def test_an_action_needs_the_cookie_and_the_origin_and_a_form(
    browser: Browser, letters: FakeLetters
) -> None:
    form = {"log_id": "1", "token": tokens_of(browser, "1")["discard"], "confirmed": "yes"}
    body, path = urlencode(form), "/dead-letters/discard"
    stranger = Browser(port=browser.port)
    assert stranger.ask(path, "POST", body, **FORM).status == 401
    assert browser.ask(path, "POST", body, **FORM, Origin="https://evil.example").status == 403
    assert browser.ask(path, "POST", body, Content_Type="text/plain").status == 415
    assert browser.ask(f"{path}?{body}").status == 404
    assert letters.acted == []


def test_a_failed_action_says_why_and_a_bug_says_nothing_of_the_event(
    browser: Browser, letters: FakeLetters
) -> None:
    form = {"log_id": "1", "token": tokens_of(browser, "1")["replay"], "confirmed": "yes"}
    letters.fails = FatalError("Segment refuses", code="segment-request-refused", hint="look")
    answer = act(browser, "replay", **form)
    assert (answer.status, answer.json) == (502, {"problem": "Segment refuses", "hint": "look"})
    letters.fails = KeyError("ada@example.com")
    answer = act(browser, "replay", **form)
    assert (answer.status, b"ada" in answer.body) == (502, False)


def test_a_second_action_waits_for_the_first_and_a_long_one_goes_on(
    browser: Browser, letters: FakeLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "ANSWER_S", 0.05)
    free, began = threading.Event(), threading.Event()

    def slow(*_: Any) -> dict[str, Any]:
        began.set()
        free.wait(PATIENCE_S)
        return {"replayed": 1}

    form = {"log_id": "1", "token": tokens_of(browser, "1")["replay"], "confirmed": "yes"}
    monkeypatch.setattr(letters, "act", slow)
    assert act(browser, "replay", **form).status == 202
    assert began.wait(PATIENCE_S)
    assert act(browser, "replay", **form).status == 409
    free.set()


def test_a_body_that_is_too_large_is_refused(browser: Browser) -> None:
    assert act(browser, "discard", log_id="1", token="x" * 20_000).status == 413
