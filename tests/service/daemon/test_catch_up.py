"""The decision to catch up, over both readings of a fake log and a real ledger."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.messages import Batch, Receipt
from poller.core.spans import Span
from tests.builders import record
from tests.fakes import LATER, NOW, STREAM, FakeLog, FakeSink, numbered
from tests.walks import live_walks

HOUR = timedelta(hours=1)
BEHIND = timedelta(minutes=10)


class SlowSink(FakeSink):
    """A sink whose answers take time."""

    def __init__(self, log: FakeLog) -> None:
        super().__init__()
        self.seconds_per_batch = 10.0
        self.ticks = 0.0
        self._log = log

    def send(self, batch: Batch) -> Receipt:
        self.ticks += self.seconds_per_batch
        self._log.now += timedelta(seconds=self.seconds_per_batch)
        return super().send(batch)


@dataclass
class Bench:
    ledger: SqlLedger
    log: FakeLog = field(default_factory=lambda: FakeLog([], page_size=4))
    behind: timedelta | None = BEHIND
    begun: list[datetime] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sink = SlowSink(self.log)
        self.start()

    def start(self) -> None:
        self.drain = live_walks(
            self.log,
            self.sink,
            self.ledger,
            start=floor_id(NOW - 10 * HOUR),
            window=timedelta(minutes=10),
            monotonic=lambda: self.sink.ticks,
            behind=self.behind,
            begun=self.begun.append,
        )

    def poll(self) -> None:
        for _ in self.drain.pages():
            pass

    def happen(self, count: int, *, hours_ago: float, over: timedelta = HOUR) -> None:
        """Write events that end so many hours ago."""
        number = len(self.log.records)
        end = NOW - hours_ago * HOUR
        moments = [end - over * (1 - part / count) for part in range(1, count + 1)]
        self.log.records += [
            record(number + index) | {"log_id": numbered(number + index, moment)}
            for index, moment in enumerate(moments, 1)
        ]
        self.log.records.sort(key=lambda item: str(item["log_id"]))

    def sent(self) -> list[str]:
        return [
            message.log_id for message in self.sink.taken if message.message_id.startswith("track")
        ]

    def slices(self) -> tuple[Span, ...]:
        return self.ledger.backlog()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    ledger = SqlLedger.open(f"sqlite:///{tmp_path / 'ledger.db'}", STREAM, create=True)
    yield Bench(ledger)
    ledger.close()


def test_new_events_go_out_before_a_backlog_that_thirty_seconds_cannot_drain(bench: Bench) -> None:
    bench.happen(100, hours_ago=2, over=6 * HOUR)
    bench.happen(3, hours_ago=0, over=timedelta(seconds=5))
    with capture_logs() as logs:
        bench.poll()
    newest = [str(item["log_id"]) for item in bench.log.records[-3:]]
    assert bench.sent() == [str(item["log_id"]) for item in bench.log.records[:12]] + newest
    (line,) = [line for line in logs if line["event"] == "catch_up.began"]
    assert (line["slices"], line["log_level"]) == (3, "warning")


def test_the_slices_hold_what_lies_between_the_position_and_ten_seconds_ago(bench: Bench) -> None:
    bench.happen(100, hours_ago=2, over=6 * HOUR)
    bench.poll()
    slices = bench.slices()
    (begun,) = bench.begun
    assert len(slices) == 3
    assert slices[0].reached == bench.log.records[11]["log_id"]
    assert [lower.until for lower in slices[:-1]] == [upper.after for upper in slices[1:]]
    assert slices[-1].until == floor_id(begun - timedelta(seconds=10))
    live = bench.ledger.live_span()
    assert live is not None
    assert live.after == slices[-1].until
    lengths = [(each.until or "") > each.after for each in slices]
    assert all(lengths)


def test_a_backlog_that_thirty_seconds_can_drain_is_drained_in_order(bench: Bench) -> None:
    bench.happen(8, hours_ago=2, over=6 * HOUR)
    bench.poll()
    assert bench.sent() == [str(item["log_id"]) for item in bench.log.records]
    assert bench.begun == []


def test_a_drain_that_is_not_far_behind_goes_on_however_long_it_takes(bench: Bench) -> None:
    bench.happen(40, hours_ago=0.05, over=timedelta(minutes=2))
    bench.poll()
    assert len(bench.sent()) == 40
    assert bench.begun == []


def test_a_daemon_that_never_catches_up_drains_in_order(bench: Bench) -> None:
    bench.behind = None
    bench.start()
    bench.happen(100, hours_ago=2, over=6 * HOUR)
    bench.poll()
    assert len(bench.sent()) == 100
    assert bench.begun == []


def test_without_a_believed_time_there_is_no_catch_up(bench: Bench) -> None:
    bench.log.is_time_believed = False
    bench.happen(40, hours_ago=2, over=6 * HOUR)
    bench.poll()
    assert len(bench.sent()) == 40
    assert bench.begun == []


def test_ids_without_a_time_lead_to_no_catch_up(bench: Bench) -> None:
    bench.ledger.begin(after=LogId("5f" + "0" * 22))
    bench.log.records = [record(number) | {"log_id": f"5f{number:022x}"} for number in range(1, 41)]
    bench.poll()
    assert len(bench.sent()) == 40
    assert bench.begun == []


def test_a_drain_that_fails_again_and_again_catches_up_all_the_same(bench: Bench) -> None:
    bench.happen(100, hours_ago=2, over=6 * HOUR)
    for _ in range(3):
        bench.sink.failures = [None, LATER]
        bench.sink.seconds_per_batch = 9.0
        with pytest.raises(type(LATER)):
            bench.poll()
        assert bench.begun == []
    bench.sink.failures = []
    bench.poll()
    assert len(bench.begun) == 1


def test_the_time_between_drains_and_of_failures_does_not_count(bench: Bench) -> None:
    bench.happen(100, hours_ago=2, over=6 * HOUR)
    for _ in range(20):
        bench.log.failures = [LATER]
        with pytest.raises(type(LATER)):
            bench.poll()
        bench.sink.ticks += 3600
    bench.sink.seconds_per_batch = 0.1
    bench.poll()
    assert len(bench.sent()) == 100
    assert bench.begun == []


def test_a_second_outage_adds_to_the_slices_that_are_left(bench: Bench) -> None:
    bench.happen(100, hours_ago=2, over=6 * HOUR)
    bench.poll()
    first = bench.slices()
    bench.log.now += 5 * HOUR
    bench.happen(100, hours_ago=-3, over=2 * HOUR)
    bench.poll()
    assert len(bench.begun) == 2
    assert bench.slices()[: len(first)] == first
    assert len(bench.slices()) > len(first)


def test_each_event_lies_in_the_live_span_or_in_one_slice(bench: Bench) -> None:
    bench.happen(100, hours_ago=2, over=6 * HOUR)
    bench.poll()
    sent = set(bench.sent())
    for item in bench.log.records:
        log_id = LogId(str(item["log_id"]))
        assert moment_of(log_id) is not None
        owners = sum(each.reached < log_id <= (each.until or "") for each in bench.slices())
        assert owners + (log_id in sent) == 1


def test_the_time_of_drains_that_saw_the_end_does_not_count_later(bench: Bench) -> None:
    for number in range(4):
        bench.happen(1, hours_ago=6 - number)
        bench.poll()
    bench.happen(8, hours_ago=0.5)
    bench.poll()
    assert bench.sent() == [str(item["log_id"]) for item in bench.log.records]
    assert bench.begun == []


def test_the_thirty_seconds_begin_anew_with_a_catch_up(bench: Bench) -> None:
    bench.happen(100, hours_ago=2, over=6 * HOUR)
    bench.happen(3, hours_ago=0, over=timedelta(seconds=5))
    bench.sink.seconds_per_batch = 9.0
    bench.sink.failures = [None] * 4 + [LATER]
    with pytest.raises(type(LATER)):
        bench.poll()
    assert len(bench.begun) == 1
    bench.log.now += 5 * HOUR
    bench.happen(5, hours_ago=-4)
    bench.poll()
    assert len(bench.begun) == 1
