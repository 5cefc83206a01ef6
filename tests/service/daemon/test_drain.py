"""A drain: where a first start begins, when a poll is over, and how many requests it takes."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from structlog.testing import capture_logs

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.errors import FatalError, TransientError
from poller.core.log_ids import LogId, floor_id, just_below, moment_of
from poller.core.messages import Batch, Receipt
from poller.core.pages import Page
from poller.core.spans import Gap, LogCursor, Span
from poller.service.daemon import drain
from poller.service.daemon.drain import Drain
from poller.service.observability.instrumented import metered_pages
from poller.service.observability.meter import Meter
from tests.builders import record
from tests.fakes import LATER, NOW, STREAM, FakeLog, FakeSink, numbered
from tests.walks import live_walks

WINDOW = timedelta(minutes=10)
HOUR = timedelta(hours=1)
PRESENT = floor_id(NOW - timedelta(seconds=10))


@dataclass
class Bench:
    log: FakeLog
    ledger: SqlLedger
    sink: FakeSink = field(default_factory=FakeSink)
    stopping: threading.Event = field(default_factory=threading.Event)
    meter: Meter = field(default_factory=Meter)
    ticks: float = 0.0

    def drain(self, start: LogId | Literal["earliest"] | None = None) -> Drain:
        return live_walks(
            self.log,
            self.sink,
            self.ledger,
            start=start,
            window=WINDOW,
            monotonic=lambda: self.ticks,
            observer=self.meter,
        )

    def poll(self, start: LogId | Literal["earliest"] | None = None) -> Span:
        for _ in self.drain(start).pages():
            pass
        return self.live()

    def live(self) -> Span:
        live = self.ledger.live_span()
        assert live is not None
        return live

    def sent(self) -> list[str]:
        return [
            message.log_id for message in self.sink.taken if message.message_id.startswith("track")
        ]


def events(*ids: LogId) -> list[dict[str, Any]]:
    return [record(number) | {"log_id": log_id} for number, log_id in enumerate(ids)]


def hours_ago(hours: float, number: int = 0) -> LogId:
    return numbered(number, NOW - hours * HOUR)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    ledger = SqlLedger.open(
        f"sqlite:///{tmp_path / 'ledger.db'}", STREAM, create=True, late_window=WINDOW
    )
    yield Bench(FakeLog([], page_size=4), ledger)
    ledger.close()


# Where a first start begins


def test_a_first_start_begins_ten_seconds_before_the_servers_now(bench: Bench) -> None:
    bench.log.records = events(hours_ago(2))
    assert bench.poll().after == PRESENT
    assert bench.sent() == []


def test_a_start_at_the_earliest_begins_just_below_the_oldest_event(bench: Bench) -> None:
    oldest = hours_ago(30)
    bench.log.records = events(oldest, hours_ago(2))
    assert bench.poll("earliest").after == just_below(oldest)
    assert bench.sent() == [oldest, hours_ago(2)]


def test_a_start_at_the_earliest_of_an_empty_log_begins_at_the_present(bench: Bench) -> None:
    assert bench.poll("earliest").after == PRESENT


@pytest.mark.parametrize("start", ["earliest", hours_ago(31)])
def test_events_that_retention_takes_before_the_first_page_is_settled_are_a_gap(
    bench: Bench, start: LogId | Literal["earliest"]
) -> None:
    bench.log.records = events(hours_ago(30), hours_ago(29), hours_ago(2))
    bench.sink.failures = [LATER]
    with pytest.raises(TransientError):
        bench.poll(start)
    began = bench.live().after
    bench.log.floor = floor_id(NOW - 28 * HOUR)
    bench.poll(start)
    assert bench.ledger.gaps() == (Gap(after=began, before=hours_ago(2)),)
    assert began < hours_ago(30)
    assert bench.sent() == [hours_ago(2)]


def test_a_start_in_the_future_is_refused(bench: Bench) -> None:
    with pytest.raises(FatalError, match=r"poll\.start lies in the future"):
        bench.poll(floor_id(NOW + HOUR))
    assert bench.ledger.live_span() is None


def test_a_first_start_goes_on_where_a_backfill_left_its_end_open(bench: Bench) -> None:
    end = floor_id(NOW - HOUR)
    below = bench.ledger.begin(after=hours_ago(5), until=end)
    bench.ledger.note_backfilled_until(end)
    bench.log.records = events(hours_ago(0.5))
    with capture_logs() as logs:
        bench.poll()
    assert [span.after for span in bench.ledger.spans()] == [below.after, end]
    assert bench.sent() == [hours_ago(0.5)]
    assert not any(entry["event"] == "span.hole" for entry in logs)


def first_start(
    bench: Bench, start: LogId | Literal["earliest"] | None = None
) -> tuple[str, list[Any]]:
    """Return the note of a first start, and the log lines of its holes."""
    with capture_logs() as logs:
        bench.poll(start)
    (begun,) = [entry for entry in logs if entry["event"] == "span.begun"]
    return begun["note"], [entry for entry in logs if entry["event"] == "span.hole"]


def test_a_hole_below_a_first_start_is_named(bench: Bench) -> None:
    bench.ledger.begin(after=hours_ago(5), until=hours_ago(3))
    _, (hole,) = first_start(bench)
    assert (hole["after"], hole["until"], hole["log_level"]) == (hours_ago(3), PRESENT, "warning")
    assert hole["hint"] == "run `backfill --since 2026-11-20T09:00:00Z`"


def test_every_hole_below_a_first_start_is_named(bench: Bench) -> None:
    bench.ledger.begin(after=hours_ago(9), until=hours_ago(7))
    bench.ledger.begin(after=hours_ago(5), until=hours_ago(3))
    bench.ledger.note_backfilled_until(hours_ago(3))
    _, (hole,) = first_start(bench)
    assert (hole["after"], hole["until"]) == (hours_ago(7), hours_ago(5))


@pytest.mark.parametrize("start", ["earliest", hours_ago(30)])
def test_a_first_start_names_the_stretch_below_a_backfill_that_is_left_out(
    bench: Bench, start: LogId | Literal["earliest"]
) -> None:
    bench.log.records = events(hours_ago(30), hours_ago(2))
    bench.ledger.begin(after=hours_ago(5), until=hours_ago(3))
    note, (hole,) = first_start(bench, start)
    assert hole["after"] in {hours_ago(30), just_below(hours_ago(30))}
    assert hole["until"] == hours_ago(5)
    assert "everything that the tenant still keeps is sent" not in note


@pytest.mark.parametrize("start", [None, "earliest"])
def test_ids_without_a_time_are_told_of_and_read_all_the_same(
    bench: Bench, start: Literal["earliest"] | None
) -> None:
    ids = [LogId(f"5f{number:022x}") for number in range(3)]
    bench.log.records = events(*ids)
    with capture_logs() as logs:
        bench.poll(start)
    assert bench.live().after == (ids[-1] if start is None else just_below(ids[0]))
    bench.log.records += events(LogId("5f" + "f" * 22))
    with capture_logs() as later:
        bench.poll(start)
    assert bench.sent() == [*(ids if start else []), "5f" + "f" * 22]
    (told,) = [entry for entry in [*logs, *later] if entry["event"] == "log.ids_without_time"]
    assert told["log_level"] == "error"


# When a poll is over


def test_an_idle_poll_is_one_request(bench: Bench) -> None:
    bench.poll()
    bench.log.asked.clear()
    bench.poll()
    assert len(bench.log.asked) == 1


@pytest.mark.parametrize(("age_s", "requests"), [(5, 1), (60, 2)])
def test_a_busy_poll_takes_at_most_one_request_more(
    bench: Bench, age_s: int, requests: int
) -> None:
    bench.poll()
    bench.log.now += timedelta(minutes=5)
    bench.log.records = events(numbered(1, bench.log.now - timedelta(seconds=age_s)))
    bench.log.asked.clear()
    bench.poll()
    assert len(bench.log.asked) == requests


@pytest.mark.parametrize("shown", [1, 2, 3])
def test_a_short_page_is_not_taken_for_the_end_of_the_log(bench: Bench, shown: int) -> None:
    ids = [hours_ago(20 - number) for number in range(12)]
    bench.log.records = events(*ids)
    bench.log.shown = shown
    live = bench.poll("earliest")
    assert bench.sent() == ids
    assert live.drained_at == NOW


def test_a_poll_ends_although_traffic_never_pauses(bench: Bench) -> None:
    class Busy(FakeLog):
        """A log that gains a page for each page that is read."""

        def fetch(self, cursor: LogCursor) -> Page:
            assert len(self.asked) < 20
            self.now += timedelta(seconds=1)
            for _ in range(self.page_size):
                self.records += events(
                    numbered(len(self.records), self.now - timedelta(seconds=0.5))
                )
            return super().fetch(cursor)

    bench.log = Busy([], page_size=4)
    live = bench.poll(floor_id(NOW - HOUR))
    assert len(bench.log.asked) <= 3
    assert live.drained_at is None
    reached = moment_of(live.reached)
    assert reached is not None
    assert reached >= NOW + timedelta(seconds=1)


def test_a_poll_reads_all_events_of_the_second_in_which_it_began(bench: Bench) -> None:
    """The time of an answer has no fraction, and the events came half a second after it."""
    ids = [numbered(number, NOW + timedelta(seconds=0.5)) for number in range(7)]
    bench.log.records = events(*ids)
    bench.log.page_size = 4
    bench.poll(floor_id(NOW - HOUR))
    assert bench.sent() == ids


def test_a_poll_whose_time_is_not_believed_ends_after_so_many_pages(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "PAGES_WITHOUT_TIME_LIMIT", 20)

    class Endless(FakeLog):
        def fetch(self, cursor: LogCursor) -> Page:
            self.records = events(numbered(len(self.asked) + 1))
            return super().fetch(cursor)

    bench.log = Endless([], page_size=4)
    bench.log.is_time_believed = False
    bench.poll(floor_id(NOW - HOUR))
    assert len(bench.log.asked) == 20


def test_events_that_become_visible_later_than_their_ids_say_are_all_sent(bench: Bench) -> None:
    class Slow(FakeLog):
        """A log that shows an event only 3 s after the time in its id."""

        made: list[Any]

        def fetch(self, cursor: LogCursor) -> Page:
            bound = numbered(0, self.now - timedelta(seconds=3))
            self.records = [item for item in self.made if str(item["log_id"]) <= bound]
            return super().fetch(cursor)

    bench.log = Slow([], page_size=4)
    ids = [numbered(number, NOW + timedelta(seconds=number * 0.7)) for number in range(100)]
    bench.log.made = events(*ids)
    for _ in range(40):
        bench.poll(floor_id(NOW - HOUR))
        bench.log.now += timedelta(seconds=2)
    assert bench.sent() == ids


# How a drain reads ahead


def old_events(count: int) -> list[LogId]:
    return [hours_ago(20, number) for number in range(count)]


def test_a_page_is_sent_only_after_the_page_below_it_is_settled(bench: Bench) -> None:
    class Sink(FakeSink):
        def send(self, batch: Batch) -> Receipt:
            positions.append((bench.live().reached, batch.messages[0].log_id))
            return super().send(batch)

    positions: list[tuple[LogId, LogId]] = []
    bench.sink = Sink()
    ids = old_events(16)
    bench.log.records = events(*ids)
    bench.poll("earliest")
    assert positions == [(just_below(ids[0]), ids[0])] + [
        (ids[number - 1], ids[number]) for number in (4, 8, 12)
    ]


def test_a_page_that_was_read_ahead_of_a_failure_is_fetched_again(bench: Bench) -> None:
    ids = old_events(16)
    bench.log.records = events(*ids)
    bench.sink.failures = [None, LATER]
    with pytest.raises(TransientError):
        bench.poll("earliest")
    between = LogId(f"{ids[8]}5")
    bench.log.records = events(*ids[:9], between, *ids[9:])
    bench.poll()
    assert bench.sent() == [*ids[:9], between, *ids[9:]]


def test_the_pages_below_a_page_that_cannot_be_fetched_are_settled(bench: Bench) -> None:
    ids = old_events(16)

    class Failing(FakeLog):
        def fetch(self, cursor: LogCursor) -> Page:
            if cursor.reached == ids[7]:
                raise LATER
            return super().fetch(cursor)

    bench.log = Failing(events(*ids), page_size=4)
    with pytest.raises(TransientError):
        bench.poll("earliest")
    assert bench.live().reached == ids[7]
    assert bench.sent() == ids[:8]


def test_one_page_at_most_is_in_hand_however_far_is_read_ahead(bench: Bench) -> None:
    class Sink(FakeSink):
        def send(self, batch: Batch) -> Receipt:
            in_hand.append(bench.meter.events.in_hand)
            return super().send(batch)

    in_hand: list[int] = []
    bench.sink = Sink()
    bench.log.records = events(*old_events(16))
    for _ in metered_pages(bench.drain("earliest").pages(), bench.meter):
        pass
    assert in_hand == [4, 4, 4, 4]
    assert bench.meter.events.in_hand == 0


def test_a_gap_above_a_page_that_was_read_ahead_is_recorded_with_its_own_page(
    bench: Bench,
) -> None:
    ids = old_events(12)

    class Forgetful(FakeLog):
        """A log that loses two events while the page below them is delivered."""

        def fetch(self, cursor: LogCursor) -> Page:
            if cursor.reached == ids[3]:
                self.floor = ids[6]
            return super().fetch(cursor)

    bench.log = Forgetful(events(*ids), page_size=4)
    bench.sink.failures = [LATER]
    with pytest.raises(TransientError):
        bench.poll("earliest")
    assert bench.ledger.gaps() == ()
    bench.log.floor = ""
    for forwarded in bench.drain().pages():
        gaps = bench.ledger.gaps()
        assert bool(gaps) == (forwarded.cursor.reached > ids[3])
    assert bench.ledger.gaps() == (Gap(after=ids[3], before=ids[6]),)
