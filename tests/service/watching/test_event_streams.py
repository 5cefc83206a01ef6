"""The streams of several pipelines, which share a thread."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from poller.core.errors import TransientError
from poller.service.watching.event_stream import EventStream
from poller.service.watching.event_streams import EventStreams
from poller.service.watching.feed import MOST_EVENTS, Feed, SettledEvent
from tests.service.page.browsers import login, settled

PATIENCE_S = 60.0


class Bench:
    """A process with streams, each at a path of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.streams = EventStreams()
        self.open: dict[str, EventStream] = {}

    def add(self, name: str, feed: Feed | None = None) -> EventStream:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(str(self._folder / name))
        listening.listen()
        listening.setblocking(False)
        try:
            stream = self.streams.open(
                listening, feed or Feed(), show=name, may_read=lambda _: True
            )
        except TransientError:
            listening.close()
            raise
        self.open[name] = stream
        return stream

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self._folder / name))
            with connection.makefile("rb") as file:
                yield from map(json.loads, file)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for each in made.open.values():
        each.close()


def threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "events"}


def test_streams_share_one_thread_which_ends_with_the_last_of_them(bench: Bench) -> None:
    before = threads()
    streams = [bench.add(name) for name in "abc"]
    (thread,) = threads() - before
    for name in "abc":
        assert next(bench.lines(name))["show"] == name
    for stream in streams:
        stream.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    bench.add("d")
    assert next(bench.lines("d"))["show"] == "d"


def test_the_end_of_a_stream_leaves_the_others_alone(bench: Bench) -> None:
    first, second = bench.add("a"), bench.add("b")
    ended, other = bench.lines("a"), bench.lines("b")
    for lines in (ended, other):
        assert [next(lines)["kind"], next(lines)["kind"]] == ["hello", "live"]
    first.close()
    assert [*ended] == [{"kind": "end", "reason": "stopped"}]
    assert next(bench.lines("b"))["kind"] == "hello"
    second.close()
    assert [*other] == [{"kind": "end", "reason": "stopped"}]


def test_a_bug_in_a_stream_leaves_the_others_alone(bench: Bench) -> None:
    class Broken(Feed):
        def after(self, number: int, *, most: int = MOST_EVENTS) -> list[SettledEvent]:
            raise ZeroDivisionError(number, most)

    broken = Broken()
    broken.count_settled(settled(login()))
    bench.add("a", broken)
    bench.add("b")
    assert [line["kind"] for line in bench.lines("a")] == ["hello", "end"]
    assert next(bench.lines("b"))["kind"] == "hello"


def test_a_machine_without_room_for_a_thread_is_a_passing_shortage(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError(f"can't start {thread.name}")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        with pytest.raises(TransientError, match="cannot start a thread"):
            bench.add("a")
    bench.add("b")
    assert next(bench.lines("b"))["kind"] == "hello"
