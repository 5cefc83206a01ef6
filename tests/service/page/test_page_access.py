"""The page shows nothing to anybody who did not open its link."""

from collections.abc import Iterator

import pytest

from poller.service.page.access import Access
from poller.service.watching.feed import Feed
from tests.fakes import NOW
from tests.service.page.browsers import TOKEN, Browser, login, served, settled

PATHS = ("/", "/stream", "/events/1", "/state", "/anything")


@pytest.fixture
def browser() -> Iterator[Browser]:
    feed = Feed(now=lambda: NOW)
    feed.count_settled(settled(login()))
    with served(feed) as opened:
        yield opened


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", ["", "?token=", "?token=wrong", f"?token={TOKEN}x"])
def test_every_path_needs_the_token_or_the_cookie(browser: Browser, path: str, token: str) -> None:
    answer = browser.ask(path + token)
    assert answer.status == 401
    assert b"ada" not in answer.body


def test_the_link_sets_a_cookie_and_leads_to_a_page_without_the_token(browser: Browser) -> None:
    answer = browser.ask(f"/?token={TOKEN}")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert TOKEN not in cookie
    assert browser.sign_in().ask("/").status == 200


def test_a_cookie_of_another_token_is_refused(browser: Browser) -> None:
    other = Access(token="u" * 32, port=browser.port, is_loopback=True)
    browser.cookie = f"{other.cookie_name}={other.cookie}"
    assert browser.ask("/").status == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil"])
def test_another_host_is_refused_even_with_the_cookie(browser: Browser, host: str) -> None:
    browser.sign_in()
    assert browser.ask("/", Host=host).status == 421
    assert browser.ask("/", Host=f"localhost:{browser.port}").status == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_another_origin_is_refused_even_with_the_cookie(browser: Browser, origin: str) -> None:
    browser.sign_in()
    assert browser.ask("/", Origin=origin).status == 403
    own = f"http://127.0.0.1:{browser.port}"
    assert browser.ask("/", Origin=own).status == 200


def test_every_answer_forbids_scripts_of_others_caches_and_frames(browser: Browser) -> None:
    for path in (*PATHS[:1], "/static/page.js", "/nothing"):
        headers = browser.sign_in().ask(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "aiohttp" not in headers["Server"]


@pytest.mark.parametrize("name", ["..%2Froutes.py", "routes.py", ".", "%2Fetc%2Fpasswd"])
def test_only_files_of_the_page_are_static(browser: Browser, name: str) -> None:
    assert browser.sign_in().ask(f"/static/{name}").status == 404


def test_the_page_holds_no_script_and_no_style_of_its_own(browser: Browser) -> None:
    body = browser.sign_in().ask("/").body
    assert b"<style" not in body
    assert b"<script>" not in body
    assert b" style=" not in body


def test_beyond_loopback_any_name_of_the_host_is_taken() -> None:
    access = Access(token=TOKEN, port=1, is_loopback=False)
    assert access.is_own_host(["poller.example:9465"])
    assert not access.is_own_host([])
    assert TOKEN not in repr(access)
