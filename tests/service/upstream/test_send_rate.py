import threading

import pytest

from poller.core.errors import TransientError
from poller.core.events import parse_events
from poller.core.messages import Batch
from poller.core.translation.translator import HistoryTranslator
from poller.service.upstream.send_rate import ThrottledSink
from tests.builders import batch_of, calls_of, record
from tests.fake_time import Stopping
from tests.fakes import NOW, STREAM, FakeSink, numbered


def batch(count: int) -> Batch:
    events = parse_events(
        [record(number) for number in range(1, count + 1)], after=numbered(0, NOW)
    )
    calls = calls_of(HistoryTranslator(STREAM), events, {})
    return batch_of(FakeSink(), calls.messages)


def test_all_senders_together_keep_to_the_messages_a_second() -> None:
    stopping = Stopping()
    sink = ThrottledSink(FakeSink(), stopping, per_second=100, monotonic=lambda: stopping.now)
    for _ in range(5):
        sink.send(batch(50))
    assert stopping.waits == [0.5] * 4
    stopping.now += 10
    sink.send(batch(50))
    assert len(stopping.waits) == 4


def test_zero_is_no_limit() -> None:
    stopping = Stopping()
    sink = ThrottledSink(FakeSink(), stopping, per_second=0, monotonic=lambda: stopping.now)
    for _ in range(5):
        sink.send(batch(500))
    assert stopping.waits == []


def test_a_stop_ends_the_wait_and_nothing_is_sent() -> None:
    taking = FakeSink()
    stopping = threading.Event()
    sink = ThrottledSink(taking, stopping, per_second=1, monotonic=lambda: 0.0)
    sink.send(batch(50))
    stopping.set()
    with pytest.raises(TransientError, match="stopped"):
        sink.send(batch(50))
    assert len(taking.batches) == 1
