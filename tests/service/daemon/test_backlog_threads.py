"""The threads of all backlogs: how many there are, and whose they are."""

from collections import Counter
from contextlib import ExitStack

import pytest

from poller.core.errors import TransientError
from poller.service.daemon.backlog_threads import TURN_S, BacklogThreads, Claim, Place

NO_ROOM = TransientError("this machine cannot start a thread for now")


class Bench:
    """Threads that stand still until the test lets them look around, or end."""

    def __init__(self, most: int) -> None:
        self.now = 0.0
        self.threads = BacklogThreads(most, monotonic=lambda: self.now)
        self.claims: dict[str, Claim] = {}
        self.running: list[tuple[str, Place, ExitStack]] = []
        self.most_at_once = 0
        self.refused: set[str] = set()

    def ask(self, name: str, wanted: int = 8) -> None:
        claim = self.claims.setdefault(name, Claim(lambda: self._start(name)))
        self.threads.ask(claim, wanted)

    def _start(self, name: str) -> None:
        if name in self.refused:
            raise NO_ROOM
        stack = ExitStack()
        place = stack.enter_context(self.threads.place(self.claims[name]))
        self.running.append((name, place, stack))
        self.most_at_once = max(self.most_at_once, len(self.running))

    def settle_pages(self, pages: int = 1) -> None:
        """Let each thread settle pages, and end if it has to give way."""
        for _ in range(pages):
            for thread in [*self.running]:
                if thread in self.running and thread[1].gives_way():
                    self._end(thread)

    def end(self, name: str) -> None:
        """Let all threads of a pipeline end, since its backlog is done."""
        for thread in [each for each in self.running if each[0] == name]:
            self._end(thread)

    def _end(self, thread: tuple[str, Place, ExitStack]) -> None:
        self.running.remove(thread)
        thread[2].close()

    @property
    def counts(self) -> Counter[str]:
        return Counter(name for name, _, _ in self.running)


def test_a_pipeline_that_is_alone_has_the_threads_that_it_wants() -> None:
    bench = Bench(16)
    bench.ask("a", 8)
    bench.ask("a", 8)
    assert bench.counts == {"a": 8}
    bench.settle_pages()
    assert bench.counts == {"a": 8}


def test_there_are_never_more_threads_than_places() -> None:
    bench = Bench(4)
    for _ in range(3):
        for name in "abcdefg":
            bench.ask(name)
        bench.settle_pages()
        bench.now += TURN_S
    assert bench.most_at_once == 4


def test_a_later_pipeline_gets_its_share_after_a_page() -> None:
    bench = Bench(8)
    bench.ask("a")
    bench.ask("b")
    assert bench.counts == {"a": 8}
    bench.settle_pages()
    assert bench.counts == {"a": 4, "b": 4}
    bench.ask("c", 1)
    bench.settle_pages()
    assert sorted(bench.counts.values()) == [1, 3, 4]
    assert bench.counts["c"] == 1
    bench.settle_pages(5)
    assert sorted(bench.counts.values()) == [1, 3, 4]


def test_a_pipeline_gives_up_no_more_places_than_the_other_one_gets() -> None:
    bench = Bench(8)
    bench.ask("a")
    bench.ask("b")
    assert [place.gives_way() for _, place, _ in bench.running] == [True] * 4 + [False] * 4


def test_the_places_of_a_backlog_that_is_done_go_to_the_others() -> None:
    bench = Bench(8)
    bench.ask("a")
    bench.ask("b")
    bench.settle_pages()
    bench.end("a")
    assert bench.counts == {"b": 8}


def test_pipelines_without_a_place_take_turns() -> None:
    bench = Bench(2)
    for name in "abcde":
        bench.ask(name)
    bench.settle_pages()
    assert bench.counts.keys() == {"a", "b"}
    had: Counter[str] = Counter()
    for _ in range(20):
        bench.now += TURN_S
        bench.settle_pages()
        had += bench.counts
    assert had.keys() == {*"abcde"}
    assert max(had.values()) - min(had.values()) <= 2


def test_a_turn_is_not_over_too_early() -> None:
    bench = Bench(1)
    bench.ask("a")
    bench.ask("b")
    bench.now += TURN_S - 0.1
    bench.settle_pages(3)
    assert bench.counts == {"a": 1}


def test_a_place_that_was_given_up_is_taken_once_its_thread_has_ended() -> None:
    bench = Bench(2)
    bench.ask("a")
    bench.ask("b")
    first, second = bench.running
    assert first[1].gives_way()
    assert not second[1].gives_way()
    assert first[1].gives_way()
    bench.ask("c")
    assert bench.counts == {"a": 2}
    bench._end(first)
    assert bench.counts == {"a": 1, "b": 1}


def test_a_machine_without_room_for_a_thread_tells_the_pipeline_that_has_none() -> None:
    bench = Bench(4)
    bench.refused = {"a"}
    with pytest.raises(TransientError):
        bench.ask("a")
    bench.ask("b", 2)
    bench.refused = {"b"}
    bench.ask("b", 3)
    assert bench.counts == {"b": 2}
    bench.refused = set()
    bench.ask("a", 2)
    assert bench.counts == {"a": 2, "b": 2}


def test_a_pipeline_that_cannot_start_a_thread_keeps_no_place_from_another() -> None:
    bench = Bench(1)
    bench.ask("a")
    bench.ask("b")
    bench.ask("c")
    bench.refused = {"b"}
    bench.end("a")
    assert bench.counts == {"c": 1}
