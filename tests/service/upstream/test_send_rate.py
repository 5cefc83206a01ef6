import threading
from dataclasses import dataclass, field

import pytest

from poller.core.errors import TransientError
from poller.core.events import parse_events
from poller.core.messages import Batch
from poller.core.translation.translator import HistoryTranslator
from poller.service.upstream.send_rate import SendRate, ThrottledSink
from tests.builders import batch_of, calls_of, record
from tests.fake_time import Stopping
from tests.fakes import NOW, STREAM, FakeSink, numbered


def batch(count: int) -> Batch:
    events = parse_events(
        [record(number) for number in range(1, count + 1)], after=numbered(0, NOW)
    )
    calls = calls_of(HistoryTranslator(STREAM), events, {})
    return batch_of(FakeSink(), calls.messages)


def throttled(stopping: Stopping, *, per_second: int) -> ThrottledSink:
    rate = SendRate(stopping, per_second=per_second, monotonic=lambda: stopping.now)
    return ThrottledSink(FakeSink(), rate.wait)


def test_all_senders_together_keep_to_the_messages_a_second() -> None:
    stopping = Stopping()
    sink = throttled(stopping, per_second=100)
    for _ in range(5):
        sink.send(batch(50))
    assert stopping.waits == [0.5] * 4
    stopping.now += 10
    sink.send(batch(50))
    assert len(stopping.waits) == 4


def test_zero_is_no_limit() -> None:
    stopping = Stopping()
    sink = throttled(stopping, per_second=0)
    for _ in range(5):
        sink.send(batch(500))
    assert stopping.waits == []


def test_a_stop_ends_the_wait_and_nothing_is_sent() -> None:
    taking = FakeSink()
    stopping = threading.Event()
    sink = ThrottledSink(taking, SendRate(stopping, per_second=1, monotonic=lambda: 0.0).wait)
    sink.send(batch(50))
    stopping.set()
    with pytest.raises(TransientError, match="stopped"):
        sink.send(batch(50))
    assert len(taking.batches) == 1


@dataclass
class Line:
    """A send rate of 100 messages a second, and its clock."""

    stopping: Stopping = field(default_factory=Stopping)

    def __post_init__(self) -> None:
        self.rate = SendRate(self.stopping, per_second=100, monotonic=lambda: self.stopping.now)

    def live(self, count: int) -> float:
        """Wait for live messages, and return the seconds."""
        before = self.stopping.now
        self.rate.wait(count)
        return self.stopping.now - before

    def background(self, count: int) -> float:
        """Wait for messages in the background, and return the seconds."""
        before = self.stopping.now
        self.rate.wait_in_background(count, self.stopping)
        return self.stopping.now - before


def test_a_live_batch_never_waits_for_the_background() -> None:
    line = Line()
    assert line.background(1000) == 0
    assert line.live(50) == 0
    assert line.live(50) == pytest.approx(0.5)


def test_the_background_waits_until_everything_before_it_has_had_its_time() -> None:
    line = Line()
    line.background(100)
    line.live(50)
    line.live(50)
    assert line.background(100) == pytest.approx(1.5)
    assert line.background(100) == pytest.approx(1.0)


def test_live_messages_that_come_while_the_background_waits_go_first() -> None:
    class Interrupted(Stopping):
        """A stop event during whose first wait live messages come."""

        def wait(self, timeout: float | None = None) -> bool:
            if not self.waits:
                line.rate._reserve(200)
            return super().wait(timeout)

    line = Line(Interrupted())
    line.background(100)
    assert line.background(100) == pytest.approx(3.0)


def test_the_background_has_the_whole_rate_while_live_polling_is_idle() -> None:
    line = Line()
    for _ in range(50):
        line.background(100)
    assert line.stopping.now == pytest.approx(49.0)


def test_both_kinds_together_keep_to_the_rate() -> None:
    line = Line()
    sent = 0
    while line.stopping.now < 60:
        line.background(100)
        line.live(30)
        sent += 130
    assert sent <= 100 * line.stopping.now + 131


def test_a_stop_ends_the_wait_of_the_background() -> None:
    line = Line()
    line.background(100)
    line.stopping.set()
    with pytest.raises(TransientError, match="stopped"):
        line.background(100)
