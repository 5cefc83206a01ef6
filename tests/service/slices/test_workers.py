"""Workers walk slices of a real ledger in parallel and settle every event once."""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.delivery import BatchSender
from poller.core.errors import ConflictError, FatalError, TakenOverError, TransientError
from poller.core.forward import Forwarded, forward
from poller.core.log_ids import LogId, floor_id
from poller.core.messages import Message, Track
from poller.core.pages import Page
from poller.core.spans import LogCursor, Span
from poller.core.translation.translator import HistoryTranslator, LiveTranslator
from poller.service.lifecycle.process import Failed, Finished, Process, Reason
from poller.service.slices.deferred_identify import IdentifyRunner, IdentifySender
from poller.service.slices.queue import Walk
from poller.service.slices.slice import Slice
from poller.service.slices.workers import SliceWorkers
from tests.builders import record
from tests.fakes import NOW, STREAM, FakeDirectory, FakeLog, FakeSink, numbered

DAY = timedelta(days=1)
PATIENCE_S = 60.0
"""The longest wait for other threads. It suits a machine that is very slow."""


def uneven(count: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """Return the events of a day, most of them in a few hours."""
    dice = random.Random(seed)  # noqa: S311 - a simulation
    moments = sorted(NOW - DAY + DAY * dice.betavariate(2, 8) for _ in range(count))
    return [
        (record(0) | {"user_id": f"auth0|{number % 17}"}) | {"log_id": numbered(number, at)}
        for number, at in enumerate(moments, 1)
    ]


@contextmanager
def opened(path: Path) -> Iterator[SqlLedger]:
    ledger = SqlLedger.open(f"sqlite:///{path / 'ledger.db'}", STREAM, create=True)
    try:
        yield ledger
    finally:
        ledger.close()


class Bench:
    """A log of a day, and workers on a span that ends at its last event."""

    def __init__(
        self,
        ledger: SqlLedger,
        records: list[dict[str, Any]],
        *,
        parallel: int,
        page_size: int = 10,
    ) -> None:
        self.ledger = ledger
        self.log = FakeLog(records, page_size=page_size)
        self.sink = FakeSink()
        self.directory = FakeDirectory(
            {f"auth0|{number}": {"email": f"{number}@x.org"} for number in range(17)}
        )
        self.process = Process()
        self.parallel = parallel
        self.patience = timedelta(minutes=2)
        self.all_wait = threading.Event()

    def walker(self) -> Walk:
        translator = HistoryTranslator(STREAM)
        return lambda span: forward(
            self.log, FakeDirectory({}), translator, BatchSender(self.sink), self.ledger, span
        )

    def identifier(self) -> IdentifySender:
        return IdentifySender(
            self.ledger,
            self.directory,
            HistoryTranslator(STREAM),
            BatchSender(self.sink),
            begun_at=NOW,
            only_news=False,
        )

    def wait_for_idle_workers(self, message: Message) -> bool:
        """Let the first page be sent only once all other workers wait for a slice.

        Otherwise one worker might finish before the others begin. Refuse nothing.
        """
        del message
        deadline = time.monotonic() + PATIENCE_S
        while not self.all_wait.wait(0.001):
            assert time.monotonic() < deadline
            if self.work._queue._idle == [self.parallel - 1, 0]:
                self.all_wait.set()
        return False

    def run(self, *spans: Span) -> Reason:
        self.work = SliceWorkers(
            self.walker,
            self.ledger,
            self.process,
            parallel=self.parallel,
            identifies=IdentifyRunner(
                self.ledger,
                self.process,
                self.identifier,
                role="backfill",
                patience=self.patience,
            ),
            patience=self.patience,
        )
        reason = self.work.run(spans)
        assert self.process.settle_down()
        return reason


def whole(ledger: SqlLedger, records: list[dict[str, Any]]) -> Span:
    return ledger.begin(after=floor_id(NOW - DAY), until=LogId(records[-1]["log_id"]))


@pytest.mark.parametrize("parallel", [1, 2, 5])
def test_all_is_sent_once_however_the_log_is_cut(tmp_path: Path, parallel: int) -> None:
    records = uneven(1000)
    with opened(tmp_path) as ledger:
        bench = Bench(ledger, records, parallel=parallel)
        bench.sink.refuses = bench.wait_for_idle_workers
        assert bench.run(whole(ledger, records)) == Finished()
        tracks = Counter(
            message.log_id for message in bench.sink.taken if isinstance(message, Track)
        )
        assert tracks == Counter(item["log_id"] for item in records)
        spans = ledger.spans()
        # All slices are joined to the span that they were cut from.
        assert [(span.after, span.is_done) for span in spans] == [(floor_id(NOW - DAY), True)]
        assert (bench.work.progress.done > 1) == (parallel > 1)
        identified = Counter(
            message.user_id for message in bench.sink.taken if not isinstance(message, Track)
        )
        assert identified == Counter(f"auth0|{number}" for number in range(17))
        assert ledger.count_pending_identifies() == 0


def test_the_slice_with_most_left_is_cut_and_its_near_half_goes_on(tmp_path: Path) -> None:
    records = uneven(4000)
    with opened(tmp_path) as ledger:
        bench = Bench(ledger, records, parallel=4, page_size=100)
        bench.sink.refuses = bench.wait_for_idle_workers
        assert bench.run(whole(ledger, records)) == Finished()
        # A cut costs a part of a page. Workers do not cut a slice down to single pages.
        slices = bench.work.progress.done
        assert len(bench.log.asked) <= 40 + 2 * slices
        assert 4 <= slices <= 20


def test_a_slice_that_ends_beyond_the_log_is_left_at_the_end_of_the_log(tmp_path: Path) -> None:
    class Patient(FakeLog):
        """A log that fails after too many requests, so that no test runs for ever."""

        def fetch(self, cursor: LogCursor) -> Page:
            if len(self.asked) > 10:
                raise FatalError("asked again and again", code="log-empty", hint="")
            return super().fetch(cursor)

    records = uneven(20)
    with opened(tmp_path) as ledger:
        bench = Bench(ledger, records, parallel=1)
        bench.log = Patient(records, page_size=10)
        span = ledger.begin(after=floor_id(NOW - DAY), until=floor_id(NOW + DAY))
        assert bench.run(span) == Finished()
        (left,) = ledger.spans()
        assert (left.reached, left.is_done) == (records[-1]["log_id"], False)


class TakenOverBench(Bench):
    """Workers that lose each slice to a later owner after its first page."""

    later: SqlLedger

    def walker(self) -> Walk:
        walk = super().walker()

        def interrupted(span: LogCursor) -> Iterator[Forwarded]:
            for forwarded in walk(span):
                yield forwarded
                assert self.later.begin_work(forwarded.cursor) is not None

        return interrupted


def test_a_slice_of_a_catch_up_that_the_daemon_takes_over_is_left_to_it(tmp_path: Path) -> None:
    records = uneven(100)
    with opened(tmp_path) as ledger, opened(tmp_path) as later:
        bench = TakenOverBench(ledger, records, parallel=1)
        bench.later = later
        live = ledger.begin(after=floor_id(NOW - DAY))
        ledger.begin_catch_up(live, present=LogId(records[-1]["log_id"]), ends=())
        structlog.reset_defaults()
        with capture_logs() as logs:
            assert bench.run(*ledger.backlog()) == Finished()
        (left,) = [line for line in logs if line["event"] == "slice.left_to_daemon"]
        assert (left["code"], left["log_level"]) == ("taken-over", "warning")
        (own,) = later.backlog()
        assert own.reached == records[9]["log_id"]


def test_a_backfill_ends_when_a_later_one_takes_over_its_slice(tmp_path: Path) -> None:
    records = uneven(100)
    with opened(tmp_path) as ledger, opened(tmp_path) as later:
        bench = TakenOverBench(ledger, records, parallel=1)
        bench.later = later
        reason = bench.run(whole(ledger, records))
        assert isinstance(reason, Failed)
        assert isinstance(reason.error, TakenOverError)


def test_a_slice_of_a_few_pages_is_not_worth_cutting(tmp_path: Path) -> None:
    records = uneven(300)
    with opened(tmp_path) as ledger:
        bench = Bench(ledger, records, parallel=3, page_size=100)
        assert bench.run(whole(ledger, records)) == Finished()
        assert bench.work.progress.done == 1


def test_a_passing_failure_is_waited_out_and_a_lasting_one_ends_the_run(tmp_path: Path) -> None:
    records = uneven(200)
    with opened(tmp_path) as ledger:
        bench = Bench(ledger, records, parallel=2)
        bench.sink.failures = [TransientError("once")]
        assert bench.run(whole(ledger, records)) == Finished()
    (tmp_path / "two").mkdir()
    with opened(tmp_path / "two") as ledger:
        bench = Bench(ledger, records, parallel=2)
        bench.patience = timedelta(seconds=1)
        bench.sink.failures = [None, *(TransientError("for ever") for _ in range(100))]
        reason = bench.run(whole(ledger, records))
        assert isinstance(reason, Failed)
        assert isinstance(reason.error, TransientError)
        assert not all(span.is_done for span in ledger.spans())


def test_a_stop_lets_the_pages_in_hand_settle_and_sends_no_identify(tmp_path: Path) -> None:
    records = uneven(1000)
    with opened(tmp_path) as ledger:
        bench = Bench(ledger, records, parallel=2)

        def stop(message: Message) -> bool:
            del message
            if len(bench.sink.batches) >= 3:
                bench.process.end(Finished())
                assert bench.process.stopping.wait(PATIENCE_S)
            return False

        bench.sink.refuses = stop
        bench.run(whole(ledger, records))
        sent = {message.log_id for message in bench.sink.taken}
        assert 0 < len(sent) < len(records)
        assert all(isinstance(message, Track) for message in bench.sink.taken)
        settled = {
            item["log_id"]
            for item in records
            for span in ledger.spans()
            if span.after < item["log_id"] <= span.reached
        }
        assert settled == sent
        assert ledger.count_pending_identifies() > 0
        # And another run has the rest, and the identifies of both.
        again = Bench(ledger, records, parallel=3)
        assert again.run(*(span for span in ledger.spans() if not span.is_done)) == Finished()
        rest = {message.log_id for message in again.sink.taken if isinstance(message, Track)}
        assert rest == {item["log_id"] for item in records} - sent
        assert ledger.count_pending_identifies() == 0


def test_a_span_is_cut_only_where_it_has_not_come_to(tmp_path: Path) -> None:
    records = uneven(100)
    with opened(tmp_path) as ledger:
        span = whole(ledger, records)
        for at in (span.after, span.until):
            with pytest.raises(ValueError, match="cannot be cut"):
                ledger.cut(span, at or span.after)
        near, far = ledger.cut(span, numbered(0, NOW - DAY * 0.8))
        assert (near.after, near.until, far.after, far.until) == (
            span.after,
            far.after,
            near.until,
            span.until,
        )
        assert ledger.spans() == (near, far)
        with pytest.raises(ConflictError):
            ledger.cut(span, numbered(0, NOW - DAY * 0.9))
        assert ledger.spans() == (near, far)


def test_the_rest_of_a_slice_is_estimated_from_its_last_page(tmp_path: Path) -> None:
    records = uneven(100)
    with opened(tmp_path) as ledger:
        span = ledger.begin(after=floor_id(NOW), until=floor_id(NOW + timedelta(hours=10)))
        at_work = Slice(cursor=span, after=span.after)
        assert (at_work.pages_left, at_work.part_done) == (0.0, 0.0)
        pages: list[Page] = []
        log = FakeLog(
            [
                item | {"log_id": numbered(n, NOW + timedelta(minutes=n))}
                for n, item in enumerate(records, 1)
            ]
        )
        for forwarded in forward(
            log, FakeDirectory({}), LiveTranslator(STREAM), BatchSender(FakeSink()), ledger, span
        ):
            at_work.move(forwarded, 0.0)
            pages.append(forwarded.settlement.page)
            break
        # A hundred events in 99 minutes: of the ten hours, about five such pages are left.
        assert 4.9 < at_work.pages_left < 5.2
        assert at_work.events == len(pages[0].events) == 100
