"""The stream of settled events to commands, and the readers that cannot hurt the daemon."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from poller.service.watching import event_streams
from poller.service.watching.event_stream import MOST_READERS, VERSION
from poller.service.watching.event_streams import EventStreams
from poller.service.watching.feed import MOST_EVENTS, Feed
from tests.fakes import NOW
from tests.service.page.browsers import login, settled

Line = dict[str, Any]
PATIENCE_S = 60.0


@pytest.fixture
def feed() -> Feed:
    return Feed(now=lambda: NOW)


class Streaming:
    """An open stream, and connections to it."""

    def __init__(self, path: Path, feed: Feed, stack: ExitStack, options: dict[str, Any]) -> None:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(path))
        listening.listen(16)
        listening.setblocking(False)
        self._path = path
        self._stack = stack
        defaults: dict[str, Any] = {"show": "sent", "may_read": lambda _: True}
        self.stream = EventStreams().open(listening, feed, **defaults | options)
        stack.callback(self.stream.close)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._stack.enter_context(closing(connection))
        connection.settimeout(PATIENCE_S)
        connection.connect(str(self._path))
        return connection

    def lines(self) -> Iterator[Line]:
        return read(self.connect())


def read(connection: socket.socket) -> Iterator[Line]:
    with connection.makefile("rb") as file:
        yield from map(json.loads, file)


Open = Callable[..., Streaming]


@pytest.fixture
def opened(tmp_path: Path, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    monkeypatch.setattr(event_streams, "TICK_S", 0.01)
    with ExitStack() as stack:

        def open_(*, feed: Feed = feed, **options: Any) -> Streaming:
            return Streaming(tmp_path / "s", feed, stack, options)

        yield open_


def test_a_reader_gets_the_events_in_memory_and_then_the_new_ones(opened: Open, feed: Feed) -> None:
    feed.count_settled(settled(login("auth0|1"), {"type": "fp"}))
    lines = opened().lines()
    assert next(lines) == {"kind": "hello", "version": VERSION, "show": "sent"}
    first, second = next(lines), next(lines)
    assert (first["kind"], first["user"], first["outcome"]) == ("event", "auth0|1", "forwarded")
    assert [each.partition("-")[0] for each in first["message_ids"]] == ["identify", "track"]
    assert (second["outcome"], second["reason"]) == ("filtered", "type")
    assert next(lines) == {"kind": "live"}
    feed.count_settled(settled(login("auth0|2")))
    assert next(lines)["user"] == "auth0|2"


def test_an_empty_memory_is_live_at_once(opened: Open) -> None:
    lines = opened().lines()
    assert [next(lines)["kind"], next(lines)["kind"]] == ["hello", "live"]


@pytest.mark.parametrize(("show", "is_shown"), [("sent", False), ("all", True)])
def test_the_stream_shows_of_a_person_what_the_page_shows(
    opened: Open, feed: Feed, show: str, is_shown: bool
) -> None:
    feed.count_settled(settled({"type": "fp", "user_name": "ada@example.com"}))
    lines = opened(show=show).lines()
    next(lines)
    assert ("ada@example.com" in str(next(lines))) == is_shown


def test_a_full_memory_arrives_whole_and_in_order(opened: Open, feed: Feed) -> None:
    for _ in range(MOST_EVENTS // 100 + 2):
        feed.count_settled(settled(*[login()] * 100))
    lines = opened().lines()
    next(lines)
    numbers = [next(lines)["number"] for _ in range(MOST_EVENTS)]
    assert numbers == [*range(201, MOST_EVENTS + 201)]
    assert next(lines)["kind"] == "live"


def test_a_small_memory_arrives_without_a_word_of_what_it_has_forgotten(opened: Open) -> None:
    small = Feed(now=lambda: NOW, most=100)
    for _ in range(3):
        small.count_settled(settled(*[login()] * 100))
    lines = opened(feed=small).lines()
    next(lines)
    assert [next(lines)["number"] for _ in range(100)] == [*range(201, 301)]
    assert next(lines)["kind"] == "live"


def test_the_end_of_the_daemon_is_the_last_line(opened: Open) -> None:
    streaming = opened()
    lines = streaming.lines()
    assert [next(lines)["kind"], next(lines)["kind"]] == ["hello", "live"]
    streaming.stream.close()
    assert [*lines] == [{"kind": "end", "reason": "stopped"}]


def test_the_ninth_reader_is_refused_until_another_one_leaves(opened: Open) -> None:
    streaming = opened()
    connections = [streaming.connect() for _ in range(MOST_READERS)]
    readers = [read(each) for each in connections]
    assert [next(each)["kind"] for each in readers] == ["hello"] * MOST_READERS
    assert [*streaming.lines()] == [{"kind": "end", "reason": "full"}]
    readers[0].close()
    connections[0].close()
    while (first := next(streaming.lines()))["kind"] == "end":
        pass
    assert first["kind"] == "hello"


def test_a_connection_of_another_user_gets_nothing(opened: Open, feed: Feed) -> None:
    feed.count_settled(settled(login()))
    streaming = opened(may_read=lambda _: False)
    assert [*streaming.lines()] == []


def test_a_reader_that_stands_still_is_dropped_and_told_while_others_go_on(
    opened: Open, feed: Feed
) -> None:
    streaming = opened()
    still, other = streaming.connect(), streaming.lines()
    assert [next(other)["kind"], next(other)["kind"]] == ["hello", "live"]
    long = settled(*[login(f"auth0|{'x' * 2000}")] * 100)
    sent = 0
    for _ in range(3 * MOST_EVENTS // 100):
        feed.count_settled(long)
        sent += 100
        while next(other).get("number") != sent:
            pass
    lines = [*read(still)]
    assert lines[-1] == {"kind": "end", "reason": "slow"}
    numbers = [line["number"] for line in lines if line["kind"] == "event"]
    assert numbers == [*range(1, len(numbers) + 1)]
    assert len(numbers) < sent


def test_events_between_two_looks_that_memory_cannot_hold_are_counted(
    opened: Open, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = opened().lines()
    assert [next(lines)["kind"], next(lines)["kind"]] == ["hello", "live"]
    monkeypatch.setattr(event_streams, "TICK_S", 0.01)
    feed.count_settled(settled(*[login()] * (MOST_EVENTS + 7)))
    found = [next(lines), next(lines)]
    assert found[0] == {"kind": "skipped", "events": 7}
    assert found[1]["number"] == 8


def test_a_reader_that_goes_or_that_talks_leaves_its_place(opened: Open, feed: Feed) -> None:
    streaming = opened()
    for _ in range(2 * MOST_READERS):
        connection = streaming.connect()
        connection.send(b"GET / HTTP/1.1\r\n\r\n")
        try:
            while connection.recv(1000):
                pass
        except ConnectionResetError:
            pass
    feed.count_settled(settled(login()))
    assert next(streaming.lines())["kind"] == "hello"


def test_hostile_text_cannot_leave_its_line(opened: Open, feed: Feed) -> None:
    feed.count_settled(settled(login('a\n{"kind": "end"}\x1b[2J\u2028')))
    lines = opened().lines()
    next(lines)
    event = next(lines)
    assert event["kind"] == "event"
    assert not set("\n\x1b\u2028") & set(event["user"])
