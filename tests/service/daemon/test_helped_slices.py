"""Slices of a catch-up that helpers in other processes walk, over a real ledger."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.delivery import BatchSender
from poller.core.errors import TransientError
from poller.core.forward import forward
from poller.core.log_ids import EARLIEST
from poller.core.messages import Batch, Identify
from poller.core.spans import Span
from poller.core.translation.translator import HistoryTranslator
from poller.service.daemon import helped_slices
from poller.service.daemon.backlog_threads import BacklogThreads
from poller.service.slices.queue import SliceQueue
from poller.service.slices.slice import Slice
from tests.fakes import NOW, STREAM, FakeDirectory
from tests.service.daemon.backlog_bench import PATIENCE_S, Bench, wait_until


@dataclass
class FakeHelpers:
    """Another process with an owner's number of its own in the same ledger."""

    url: str
    bench: Bench
    most: int = 2
    threads: BacklogThreads = field(default_factory=BacklogThreads)
    walked: list[int] = field(default_factory=list)
    failures: int = 0
    """The times that the helper cannot be reached."""

    def count(self) -> int:
        return self.most

    def walk(self, own: Slice, stopping: threading.Event) -> None:
        if self.failures:
            self.failures -= 1
            raise TransientError("no helper can be reached")
        ledger = SqlLedger.open(self.url, STREAM, create=False)
        try:
            assert isinstance(own.cursor, Span)
            cursor = ledger.begin_work(own.cursor)
            if cursor is not None:
                translator, sender = HistoryTranslator(STREAM), BatchSender(self.bench.sink)
                log, users = self.bench.log, FakeDirectory({})
                for _ in forward(log, users, translator, sender, ledger, cursor):
                    if stopping.is_set():
                        return
            self.walked.append(own.cursor.id)
            own.is_finished = True
        finally:
            ledger.close()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A backlog in three slices, with one thread of its own and two helpers that are quick."""
    monkeypatch.setattr(helped_slices, "WORTH_S", 0.0)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = SqlLedger.open(url, STREAM, create=True)
    made = Bench(ledger, parallel=1)
    made.helpers = FakeHelpers(url, made)
    made.workers = made.start()
    yield made
    made.stop()
    ledger.close()


def helpers_of(bench: Bench) -> FakeHelpers:
    assert isinstance(bench.helpers, FakeHelpers)
    return bench.helpers


def test_helpers_walk_slices_and_the_identifies_come_after_the_last_one(bench: Bench) -> None:
    helpers = helpers_of(bench)
    own = []

    def hold(batch: Batch) -> None:
        """Hold the thread of the owner until a helper has walked a slice."""
        if threading.current_thread().name == "backlog" and not own:
            own.append(batch)
            wait_until(lambda: bool(helpers.walked))

    bench.sink.before = hold
    bench.catch_up()
    bench.assert_all_is_sent_once()
    kinds = [isinstance(each, Identify) for each in bench.sink.taken]
    assert kinds == sorted(kinds)
    assert own
    assert helpers.walked


def test_without_a_helper_no_thread_waits_for_one(bench: Bench) -> None:
    helpers_of(bench).most = 0
    bench.catch_up()
    bench.assert_all_is_sent_once()
    assert helpers_of(bench).walked == []


def test_a_slice_whose_helper_cannot_be_reached_goes_back_into_the_queue(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helped_slices, "_AGAIN_AFTER_S", 0.0)
    helpers_of(bench).failures = 3
    with capture_logs() as logs:
        bench.catch_up()
    bench.assert_all_is_sent_once()
    failed = [line for line in logs if line["event"] == "slice.not_shared"]
    assert all("no helper can be reached" in line["reason"] for line in failed)
    assert len(failed) + helpers_of(bench).failures == 3


def test_a_slice_that_a_helper_has_begun_is_left_to_the_helper(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier owner of the pipeline may have given it away."""
    monkeypatch.setattr("poller.service.daemon.backlog_workers._HELPED_S", 0.01)
    helpers, stopping = helpers_of(bench), threading.Event()
    helpers.most = 0
    bench.fall_behind()
    oldest = bench.ledger.backlog()[0]
    middle = threading.Event()

    def hold(batch: Batch) -> None:
        del batch
        if threading.current_thread().name == "helper":
            middle.set()
            wait_until(lambda: len(bench.ledger.backlog()) == 1)

    bench.sink.before = hold
    own = Slice(cursor=oldest, after=oldest.after)
    helper = threading.Thread(target=helpers.walk, args=(own, stopping), name="helper")
    helper.start()
    assert middle.wait(PATIENCE_S)
    bench.workers.look_for_work(NOW)
    helper.join(PATIENCE_S)
    bench.finish()
    bench.assert_all_is_sent_once()
    assert not bench.process.stopping.is_set()


def test_a_slice_goes_to_a_waiting_thread_of_the_owner_before_a_helper(bench: Bench) -> None:
    stopping, cursor = threading.Event(), bench.ledger.begin(after=EARLIEST)
    queue, looks = SliceQueue(bench.ledger, stopping), threading.Semaphore(0)
    queue.add([cursor])
    busy = queue.take()
    assert busy is not None  # a queue without work ends every wait
    with ThreadPoolExecutor(1) as pool:
        try:
            for _ in range(20):
                own = pool.submit(queue.take, lambda: bool(looks.release()))
                assert looks.acquire(timeout=PATIENCE_S)
                queue.add([cursor])
                once = iter([False])
                assert queue.take(lambda: next(once, True), for_helper=True) is None  # noqa: B023
                taken = own.result(PATIENCE_S)
                assert taken is not None
                queue.leave(taken)
        finally:
            stopping.set()


def test_a_stop_ends_the_wait_for_a_helper_between_two_pages(bench: Bench) -> None:
    def stop(batch: Batch) -> None:
        del batch
        if len(bench.sink.batches) >= 5:
            bench.process.stopping.set()

    bench.sink.before = stop
    bench.fall_behind()
    bench.workers.look_for_work(NOW)
    bench.await_stop()
    assert bench.ledger.backlog()
    assert len(bench.tracks()) == sum(bench.tracks().values()) < len(bench.records)
