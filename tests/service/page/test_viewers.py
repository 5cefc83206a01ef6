"""Viewers get the events as they are settled, and none of them can hurt the daemon."""

import socket
import threading
from contextlib import ExitStack, closing

import pytest
from aiohttp import web

from poller.service.page import server, viewers
from poller.service.watching.feed import Feed
from tests.fakes import NOW
from tests.scripted import silent_port
from tests.service.page.browsers import is_cut, login, served, settled


@pytest.fixture
def feed() -> Feed:
    return Feed(now=lambda: NOW)


def test_a_viewer_gets_the_events_so_far_and_then_the_new_ones(feed: Feed) -> None:
    feed.count_settled(settled(login("auth0|1")))
    with served(feed) as browser, browser.sign_in().stream() as stream:
        name, first = next(stream)
        assert (name, [row["user"] for row in first["rows"]]) == ("events", ["auth0|1"])
        feed.count_settled(settled(login("auth0|2"), {"type": "fp"}))
        rows = next(data["rows"] for name, data in stream if name == "events")
        assert [(row["number"], row["outcome"]) for row in rows] == [
            (2, "forwarded"),
            (3, "filtered"),
        ]


def test_a_viewer_that_comes_again_gets_only_the_events_that_it_missed(feed: Feed) -> None:
    feed.count_settled(settled(login(), login(), login()))
    with served(feed) as browser, browser.sign_in().stream(Last_Event_ID=f"{feed.run}.2") as stream:
        assert [row["number"] for row in next(stream)[1]["rows"]] == [3]


@pytest.mark.parametrize("last", ["another.2", "2", "", ".", "another.²"])
def test_a_viewer_of_an_earlier_run_gets_every_event(feed: Feed, last: str) -> None:
    feed.count_settled(settled(login(), login(), login()))
    with served(feed) as browser, browser.sign_in().stream(Last_Event_ID=last) as stream:
        assert [row["number"] for row in next(stream)[1]["rows"]] == [1, 2, 3]


def test_the_state_comes_to_every_viewer(feed: Feed) -> None:
    state = {"at": "now"}
    with served(feed, state=lambda: state) as browser, browser.sign_in().stream() as stream:
        assert next(stream) == ("state", state)


def test_events_beyond_the_rate_of_a_reader_are_counted_and_left_out(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewers, "MOST_ROWS_PER_TICK", 2)
    with served(feed) as browser, browser.sign_in().stream() as stream:
        next(stream)
        feed.count_settled(settled(*[login()] * 5))
        data = next(data for name, data in stream if name == "events")
    assert ([row["number"] for row in data["rows"]], data["skipped"]) == ([4, 5], 3)


def test_the_ninth_viewer_is_refused_until_another_one_leaves(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewers, "TICK_S", 0.02)
    monkeypatch.setattr(viewers, "STATE_TICKS", 1)
    with served(feed) as browser, ExitStack() as stack:
        browser.sign_in()
        streams = [stack.enter_context(browser.stream()) for _ in range(viewers.MOST_VIEWERS - 1)]
        with browser.stream() as last:
            for stream in (*streams, last):
                next(stream)
            assert browser.stream_status() == 503
            assert browser.ask("/").status == 200
        while browser.stream_status() == 503:
            next(streams[0])  # the next state finds out that a browser has gone


@pytest.mark.parametrize("limit", [{"WRITE_S": 2.0}, {"_QUEUED_CHUNKS": 2}])
def test_a_viewer_that_takes_nothing_is_dropped_and_the_others_go_on(
    feed: Feed, monkeypatch: pytest.MonkeyPatch, limit: dict[str, float]
) -> None:
    monkeypatch.setattr(viewers, "WRITE_S", 600.0)
    monkeypatch.setattr(viewers, "_QUEUED_CHUNKS", 1_000_000)
    for name, value in limit.items():
        monkeypatch.setattr(viewers, name, value)
    monkeypatch.setattr(viewers, "TICK_S", 0.01)
    monkeypatch.setattr(viewers, "STATE_TICKS", 1_000_000)  # one chunk at a time waits
    dropped, abort = threading.Event(), viewers._abort

    def noted_abort(request: web.Request) -> None:
        abort(request)
        dropped.set()

    monkeypatch.setattr(viewers, "_abort", noted_abort)
    page = settled(*[login(client_name="x" * 4000)] * 100)
    with served(feed) as browser:
        cookie = browser.sign_in().cookie
        request = f"GET /stream HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"
        with closing(browser.send(request, buffer_bytes=4096)) as slow, browser.stream() as stream:
            assert slow.recv(16)
            while not dropped.wait(0.01):
                feed.count_settled(page)
                while next(stream)[0] != "events":
                    pass
            assert is_cut(slow)
            feed.count_settled(page)
            assert next(stream)[0] == "events"


def test_a_client_that_sends_half_a_request_is_cut(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTION_S", 0.1)
    monkeypatch.setattr(server, "_LOOK_S", 0.05)
    with served(feed) as browser, closing(browser.send("GET / HTTP/1.1\r\nHost: l")) as silent:
        assert is_cut(silent)


def test_the_oldest_idle_connection_makes_room_for_a_new_one(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(server, "_LOOK_S", 0.05)
    with served(feed) as browser, ExitStack() as stack:
        idle = [stack.enter_context(closing(browser.send("GET / HT"))) for _ in range(8)]
        assert browser.ask("/static/page.js").status == 200
        assert is_cut(idle[0])


def test_a_request_that_is_too_long_is_refused(feed: Feed) -> None:
    with served(feed) as browser:
        assert browser.ask("/", Cookie="x" * 9000).status == 400


def test_a_page_that_is_closed_listens_no_more(feed: Feed) -> None:
    with silent_port() as port:
        with served(feed, port=port) as browser:
            assert browser.ask("/").status == 401
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
