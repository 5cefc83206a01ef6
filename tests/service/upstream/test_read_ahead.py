"""Reading ahead: the order of the pages, the bound on them, and what is thrown away."""

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from poller.core.errors import TransientError
from poller.core.log_ids import EARLIEST
from poller.core.pages import Page
from poller.core.spans import LogCursor, Span
from poller.service.upstream.read_ahead import PAGES_AHEAD, ReadAhead, Walk, Worker
from tests.builders import record
from tests.fakes import LATER, STREAM, FakeLog, numbered

PATIENCE_S = 60.0
"""The longest wait for another thread, which comes at once on any machine that works."""
LAST = numbered(9)


class Steps:
    """A Runner whose calls wait until the test runs them."""

    def __init__(self) -> None:
        self.waiting: deque[Callable[[], None]] = deque()

    def submit(self, call: Callable[[], None]) -> None:
        self.waiting.append(call)

    def run(self) -> None:
        """Run everything that waits, and everything that this submits."""
        while self.waiting:
            self.waiting.popleft()()


class Bench:
    """A walk over a log of ten pages of one event each, step by step."""

    def __init__(self) -> None:
        self.log = FakeLog([record(number) for number in range(10)], page_size=1)
        self.prepared: list[str] = []
        self.fetching = Steps()
        self.preparing = [Steps() for _ in range(PAGES_AHEAD)]
        runners = iter([self.fetching, *self.preparing])
        self.read_ahead = ReadAhead(self.log, self.prepare, runner=lambda _name: next(runners))
        self.cursor: LogCursor = Span(id=1, stream=STREAM, after=EARLIEST, reached=EARLIEST)

    def prepare(self, read: Page) -> None:
        self.prepared.append(read.position)

    @contextmanager
    def walk(self) -> Iterator[Walk]:
        with self.read_ahead.walk(lambda read: read.position >= LAST) as walk:
            yield walk

    def take(self, walk: Walk) -> Page:
        """Let both runners work, take the next page as `forward` does, and settle it."""
        self.let_read()
        taken = walk.fetch(self.cursor)
        self.cursor = replace(self.cursor, reached=taken.position)
        return taken

    def let_read(self) -> None:
        """Let every runner do what waits for it."""
        self.fetching.run()
        for runner in self.preparing:
            runner.run()

    @property
    def asked(self) -> list[str]:
        """The positions from which pages were fetched."""
        return [cursor.reached for cursor in self.log.asked]


def ids(*numbers: int) -> list[str]:
    return [numbered(number) for number in numbers]


def test_pages_are_given_in_order_and_each_is_fetched_once() -> None:
    bench = Bench()
    with bench.walk() as walk:
        taken = [bench.take(walk).position for _ in range(10)]
    assert taken == ids(*range(10))
    assert bench.asked == [EARLIEST, *taken[:-1]]


def test_at_most_two_pages_above_the_page_at_hand_are_fetched() -> None:
    bench = Bench()
    with bench.walk() as walk:
        for at_hand in range(10):
            bench.take(walk)
            assert len(bench.asked) == min(at_hand + 1 + (at_hand > 0), 10)
            bench.let_read()
            assert len(bench.asked) == min(at_hand + 1 + PAGES_AHEAD, 10)


def test_nothing_is_fetched_above_the_last_page() -> None:
    bench = Bench()
    bench.log.records = [record(9)]
    with bench.walk() as walk:
        bench.take(walk)
        assert not bench.fetching.waiting


def test_the_next_page_is_fetched_while_the_one_before_it_is_prepared() -> None:
    bench = Bench()
    with bench.walk() as walk:
        bench.take(walk)
        bench.fetching.run()
        assert bench.asked == [EARLIEST, *ids(0, 1)]
        assert bench.prepared == []


def test_each_page_that_is_read_ahead_is_prepared_once_and_before_it_is_given() -> None:
    bench = Bench()
    with bench.walk() as walk:
        for number in range(10):
            taken = bench.take(walk)
            assert number == 0 or taken.position in bench.prepared
    assert sorted(bench.prepared) == ids(*range(1, 10))


def test_an_error_is_raised_when_its_page_is_due() -> None:
    bench = Bench()
    with bench.walk() as walk:
        bench.take(walk)
        bench.fetching.waiting.popleft()()
        bench.log.failures = [LATER]
        assert bench.take(walk).position == numbered(1)
        with pytest.raises(TransientError, match="later"):
            bench.take(walk)
        assert not bench.fetching.waiting


def test_an_error_of_the_preparation_is_raised_when_its_page_is_due() -> None:
    bench = Bench()

    def fail(read: Page) -> None:
        raise LATER if read.events else AssertionError

    bench.read_ahead._prepare = fail
    with bench.walk() as walk:
        bench.take(walk)
        with pytest.raises(TransientError, match="later"):
            bench.take(walk)


def test_a_walk_never_gives_pages_that_another_one_read_ahead() -> None:
    bench = Bench()
    with bench.walk() as walk:
        bench.take(walk)
        bench.let_read()
    bench.log.records.insert(1, record(0) | {"log_id": f"{numbered(0)}5"})
    with bench.walk() as walk:
        assert bench.take(walk).position == f"{numbered(0)}5"


def test_a_fetch_that_outlives_its_walk_has_no_effect() -> None:
    bench = Bench()
    with bench.walk() as walk:
        bench.take(walk)
        bench.fetching.waiting.popleft()()
        runners = [bench.fetching, *bench.preparing]
        held = [call for runner in runners for call in runner.waiting]
        assert len(held) == 2
    for call in held:
        call()
    assert bench.asked == [EARLIEST, *ids(0)]
    assert bench.prepared == []
    assert not walk._ahead


@pytest.mark.parametrize(
    "moved",
    [
        {"id": 2},
        {"reached": numbered(3)},
        {"until": numbered(7)},
        {"stream": replace(STREAM, generation="2")},
    ],
)
def test_a_cursor_that_moved_otherwise_is_read_anew(moved: dict[str, object]) -> None:
    bench = Bench()
    with bench.walk() as walk:
        bench.take(walk)
        bench.let_read()
        bench.cursor = replace(bench.cursor, **moved)  # type: ignore[arg-type]
        bench.log.asked.clear()
        taken = walk.fetch(bench.cursor)
        assert bench.log.asked == [bench.cursor]
        bench.cursor = replace(bench.cursor, reached=taken.position)
        assert bench.take(walk).position > taken.position


def test_a_walk_waits_for_its_page_and_not_for_its_turn() -> None:
    """While a page is at hand, the profiles of the next are read and the one after is fetched."""
    seen: dict[str, threading.Event] = {position: threading.Event() for position in ids(0, 1)}
    read = threading.Event()

    class Log(FakeLog):
        def fetch(self, cursor: LogCursor) -> Page:
            if cursor.reached in seen:
                seen[cursor.reached].set()
            return super().fetch(cursor)

    def prepare(of_page: Page) -> None:
        assert of_page.position >= numbered(1)
        assert seen[numbered(1)].wait(PATIENCE_S)
        read.set()

    log = Log([record(number) for number in range(10)], page_size=1)
    cursor = cursor_of_all()
    with ReadAhead(log, prepare).walk(lambda page: page.position >= LAST) as walk:
        first = walk.fetch(cursor)
        assert read.wait(PATIENCE_S)
        assert walk.fetch(replace(cursor, reached=first.position)).position == numbered(1)


def cursor_of_all() -> LogCursor:
    return Span(id=1, stream=STREAM, after=EARLIEST, reached=EARLIEST)


def test_two_pages_are_prepared_at_once_and_given_in_order() -> None:
    """The lower one of each two pages is ready only after the upper one."""
    ready = {position: threading.Event() for position in ids(*range(1, 9))}

    def prepare(of_page: Page) -> None:
        number = int(of_page.position[-2:])
        if number % 2:
            assert ready[numbered(number + 1)].wait(PATIENCE_S)
        ready[of_page.position].set()

    log = FakeLog([record(number) for number in range(9)], page_size=1)
    cursor, given = cursor_of_all(), []
    with ReadAhead(log, prepare).walk(lambda page: page.position == numbered(8)) as walk:
        for _ in range(9):
            given.append(walk.fetch(cursor).position)
            cursor = replace(cursor, reached=given[-1])
    assert given == ids(*range(9))


def test_an_error_of_a_page_throws_away_the_page_above_it_that_is_ready() -> None:
    bench = Bench()
    bench.read_ahead._prepare = lambda read: fail_at(1, read)
    with bench.walk() as walk:
        bench.take(walk)
        bench.let_read()
        assert [each.future.done() for each in walk._ahead] == [True] * PAGES_AHEAD
        with pytest.raises(TransientError, match="later"):
            bench.take(walk)
    bench.log.records.insert(1, record(0) | {"log_id": f"{numbered(0)}5"})
    with bench.walk() as walk:
        assert bench.take(walk).position == f"{numbered(0)}5"


def fail_at(number: int, read: Page) -> None:
    if read.position == numbered(number):
        raise LATER


def assert_set(event: threading.Event) -> None:
    assert event.wait(PATIENCE_S)


def test_a_worker_makes_its_calls_in_order_and_in_one_thread() -> None:
    threads: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
    begun = threading.Event()
    worker = Worker("test", idle_s=0.0)
    worker.submit(lambda: assert_set(begun))
    for _ in range(3):
        worker.submit(lambda: threads.put(threading.current_thread()))
    begun.set()
    made = [threads.get(timeout=PATIENCE_S) for _ in range(3)]
    assert len({*made}) == 1
    assert made[0].daemon


def test_a_worker_without_calls_has_no_thread_until_the_next_one() -> None:
    threads: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
    worker = Worker("test", idle_s=0.0)
    for _ in range(3):
        worker.submit(lambda: threads.put(threading.current_thread()))
        thread = threads.get(timeout=PATIENCE_S)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_a_worker_loses_no_call_that_comes_as_its_thread_ends() -> None:
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    worker = Worker("test", idle_s=0.0)
    for number in range(500):
        worker.submit(lambda number=number: done.put(number))
        time.sleep(0)  # lets the other thread run
    assert [done.get(timeout=PATIENCE_S) for _ in range(500)] == [*range(500)]


def test_a_machine_without_room_for_a_thread_is_a_passing_shortage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError(f"can't start {thread.name}")

    monkeypatch.setattr(threading.Thread, "start", start)
    log = FakeLog([record(number) for number in range(10)], page_size=1)
    cursor = cursor_of_all()
    with ReadAhead(log, lambda read: None).walk(lambda read: False) as walk:
        first = walk.fetch(cursor)
        with pytest.raises(TransientError, match="cannot start a thread"):
            walk.fetch(replace(cursor, reached=first.position))


def test_an_idle_walk_starts_no_thread() -> None:
    before = set(threading.enumerate())
    log = FakeLog([])
    cursor = cursor_of_all()
    with ReadAhead(log, lambda read: None).walk(lambda read: read.is_end) as walk:
        assert walk.fetch(cursor).is_end
    assert set(threading.enumerate()) <= before
