"""The counts of the meter, and the identity that holds at every scrape."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from poller.core.delivery import BatchSender
from poller.core.errors import FatalError, TransientError
from poller.core.forward import Forwarded, forward
from poller.core.log_ids import EARLIEST, floor_id
from poller.core.messages import Batch, Receipt
from poller.core.spans import SecondReading, Span
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator
from poller.service.lifecycle.backlog import Backlog
from poller.service.observability.event_counts import EventCounts
from poller.service.observability.instrumented import (
    MeteredJournal,
    MeteredLog,
    MeteredRateLimiter,
    MeteredSink,
    TimedLog,
    metered_pages,
)
from poller.service.observability.meter import MOST_TYPES, OTHER, REQUEST_OUTCOMES, Meter
from poller.service.observability.metrics import PREFIX
from poller.service.upstream.rate_limit import RateLimiter
from tests.builders import page, settlement
from tests.fakes import (
    LATER,
    NEVER,
    NOW,
    STREAM,
    FakeDirectory,
    FakeLedger,
    FakeLog,
    FakeSink,
    numbered,
)

KINDS = ("s", "ss", "w", "fp", "s")


def record(number: int, kind: str, **fields: Any) -> dict[str, Any]:
    at = NOW - timedelta(hours=1) + timedelta(seconds=number)
    made = {
        "log_id": numbered(number, at),
        "type": kind,
        "date": at.isoformat(),
        "user_id": f"auth0|{number}",
    }
    return {**made, "ip": "192.0.2.1", "user_name": "u", **fields}


def records(count: int) -> list[dict[str, Any]]:
    return [record(number, KINDS[number % len(KINDS)]) for number in range(1, count + 1)]


class Bench:
    """The real loop between a log, a sink and a ledger in memory, with a meter beside it."""

    def __init__(self, log: FakeLog, *, types: Sequence[str] = ("s", "ss")) -> None:
        self.seconds = 0.0
        self.meter = Meter(types, monotonic=lambda: self.seconds, now=lambda: NOW)
        self.log = log
        self.sink = FakeSink()
        self.ledger = FakeLedger(STREAM)
        self.ledger.begin(after=EARLIEST)

    def pages(self) -> Iterator[Forwarded]:
        span = self.ledger.live_span()
        assert span is not None
        translator = LiveTranslator(STREAM, Rules())
        sender = BatchSender(MeteredSink(self.sink, self.meter))
        work = forward(
            MeteredLog(TimedLog(self.log, self.meter), self.meter),
            FakeDirectory({}),
            translator,
            sender,
            self.ledger,
            span,
        )
        for forwarded in metered_pages(work, self.meter):
            yield forwarded
            if forwarded.settlement.page.is_end:
                return

    def drain(self) -> EventCounts:
        for _ in self.pages():
            pass
        return self.meter.events


def value(meter: Meter, name: str, **labels: str) -> float | None:
    """Return one sample as it is scraped."""
    return meter.registry.get_sample_value(PREFIX + name, labels)


def scraped_totals(meter: Meter) -> Counter[str]:
    """Return the sums of the metrics of events, from one scrape."""
    totals = Counter[str]()
    for family in meter.registry.collect():
        for sample in family.samples:
            if sample.name.startswith(PREFIX + "events_"):
                totals[sample.name.removeprefix(PREFIX)] += int(sample.value)
    return totals


def assert_identity(snapshot: EventCounts) -> None:
    for kind, read in snapshot.read.items():
        assert read >= snapshot.settled(kind)
    settled = (snapshot.forwarded, snapshot.filtered, snapshot.dead_lettered)
    total = sum(sum(counts.values()) for counts in settled)
    assert sum(snapshot.read.values()) == total + snapshot.in_hand


def counted(counts: Any) -> dict[str, int]:
    return {kind: count for kind, count in counts.items() if count}


def test_events_are_counted_by_type_and_outcome() -> None:
    bench = Bench(
        FakeLog([*records(10), record(11, "s", user_id=None), record(12, "s", date="soon")])
    )
    snapshot = bench.drain()
    assert counted(snapshot.read) == {"s": 6, "ss": 2, "w": 2, "fp": 2}
    assert counted(snapshot.forwarded) == {"s": 4, "ss": 2}
    assert counted(snapshot.filtered) == {"w": 2, "fp": 2}
    assert counted(snapshot.dead_lettered) == {"s": 2}
    assert snapshot.in_hand == 0
    for kind, count in (("track", 6), ("identify", 6), ("group", 0)):
        assert value(bench.meter, "messages_acknowledged_total", kind=kind) == count


def test_the_page_that_is_being_sent_is_in_hand() -> None:
    bench = Bench(FakeLog(records(25), page_size=10))
    seen: list[int] = []
    send = bench.sink.send

    def look(batch: Batch) -> Receipt:
        seen.append(bench.meter.events.in_hand)
        assert_identity(bench.meter.events)
        return send(batch)

    bench.sink.send = look  # type: ignore[method-assign]  # a look at what is true meanwhile
    bench.drain()
    assert seen == [10, 10, 5]


def test_a_page_that_is_read_again_after_a_failure_counts_once() -> None:
    bench = Bench(FakeLog(records(10)))
    bench.sink.failures = [LATER, LATER]
    for _ in range(2):
        with pytest.raises(TransientError):
            bench.drain()
        assert bench.meter.events.in_hand == 10
        assert sum(bench.meter.events.read.values()) == 10
    snapshot = bench.drain()
    assert (snapshot.in_hand, sum(snapshot.read.values())) == (0, 10)


def test_a_page_that_comes_back_shorter_lowers_no_counter() -> None:
    """Retention may take events of the page at hand. A counter never goes down."""
    log = FakeLog(records(20), page_size=10)
    bench = Bench(log)
    bench.sink.failures = [LATER]
    with pytest.raises(TransientError):
        bench.drain()
    before = bench.meter.events.read
    gone, log.records = log.records[:8], log.records[8:12]
    snapshot = bench.drain()
    assert all(snapshot.read[kind] >= count for kind, count in before.items())
    assert_identity(snapshot)
    log.records += [record(100 + number, gone[number]["type"]) for number in range(8)]
    assert bench.drain().in_hand == 0


def test_events_of_a_second_reading_are_read_and_settled_at_once_and_move_no_position() -> None:
    (forwarded, _) = Bench(FakeLog(records(3))).pages()
    meter = Meter(["s"], now=lambda: NOW)
    meter.start_at(
        Span(id=1, stream=STREAM, after=EARLIEST, reached=floor_id(NOW - timedelta(hours=1)))
    )
    second = SecondReading(
        id=1, stream=STREAM, after=EARLIEST, reached=EARLIEST, until=floor_id(NOW)
    )
    meter.count_settled(replace(forwarded, cursor=second))
    assert sum(meter.events.read.values()) == 3
    assert_identity(meter.events)
    assert meter.events.in_hand == 0
    assert meter.ages.freshness_s() == 3600


def test_the_number_of_types_is_bounded_and_odd_types_are_other() -> None:
    many = [record(100 + number, f"type_{number}") for number in range(1, 3 * MOST_TYPES)]
    names = ("auth0|abc", "a b", "S", "x" * 51, 'x"} 1\n', "9" * 56, "é", "", "\n")
    odd = [record(1 + number, kind) for number, kind in enumerate(names)]
    meter = Bench(FakeLog([*odd, *many], page_size=50)).drain()
    assert len(meter.read) == MOST_TYPES
    assert sum(meter.read.values()) == len(many) + len(odd)
    assert meter.read[OTHER] >= len(odd)
    assert not {
        kind for kind in meter.read if not kind.replace("_", "").isalnum() or len(kind) > 50
    }


def test_types_of_interest_have_a_count_of_their_own_after_any_number_of_others() -> None:
    log = FakeLog(
        [
            *[record(number, f"type_{number}") for number in range(1, 2 * MOST_TYPES)],
            record(999, "ss"),
        ]
    )
    assert Bench(log).drain().forwarded["ss"] == 1


def test_metrics_of_alerts_begin_at_zero() -> None:
    meter = Meter(["s", "ss"])
    meter.requests_to("auth0")
    snapshot = meter.events
    assert snapshot.dead_lettered == {"s": 0, "ss": 0, OTHER: 0}
    for outcome in REQUEST_OUTCOMES:
        labels = {"service": "auth0", "call": "token", "outcome": outcome}
        assert value(meter, "requests_total", **labels) == 0
        assert value(meter, "request_duration_seconds_count", **labels) is None


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "ok"),
        (204, "ok"),
        (307, "refused"),
        (400, "refused"),
        (404, "refused"),
        (429, "rate_limited"),
        (500, "failed"),
        (503, "failed"),
        (None, "unanswered"),
        (999, "refused"),
    ],
)
def test_a_request_counts_by_service_call_and_outcome(status: int | None, outcome: str) -> None:
    meter = Meter()
    meter.requests_to("auth0")("/api/v2/users/auth0%7C123", status, 0.3)
    labels = {"service": "auth0", "call": "users", "outcome": outcome}
    assert value(meter, "requests_total", **labels) == 1
    assert value(meter, "request_duration_seconds_sum", **labels) == 0.3


def test_a_call_with_an_unknown_path_is_counted_as_other() -> None:
    meter = Meter()
    meter.requests_to("auth0")("/api/v2/auth0%7C123", 200, 0.1)
    assert value(meter, "requests_total", service="auth0", call=OTHER, outcome="ok") == 1


def test_an_event_that_is_dated_ahead_of_its_settlement_has_no_age() -> None:
    bench = Bench(FakeLog([record(1, "s", date=(NOW + timedelta(hours=2)).isoformat())]))
    bench.drain()
    assert value(bench.meter, "event_age_seconds_sum") == 0
    assert value(bench.meter, "event_age_seconds_bucket", le="1.0") == 1


# Lag


def test_a_quiet_tenant_has_no_lag_and_an_outage_has_a_growing_one() -> None:
    bench = Bench(FakeLog([]))
    bench.drain()
    assert bench.meter.ages.freshness_s() == 0
    bench.seconds += 90
    assert bench.meter.ages.freshness_s() == bench.meter.ages.values()["position_age_seconds"] == 90
    bench.drain()
    assert bench.meter.ages.freshness_s() == 0


def test_the_lag_of_a_catch_up_is_the_age_of_the_newest_settled_event() -> None:
    bench = Bench(FakeLog(records(30), page_size=10))
    lags = [bench.meter.ages.freshness_s() for _ in bench.pages()]
    assert lags == [3590, 3580, 3570, 0]


def test_an_event_dated_ahead_of_its_arrival_shortens_no_lag() -> None:
    ahead = [record(1, "s", date=(NOW + timedelta(days=9)).isoformat()), *records(10)[1:]]
    bench = Bench(FakeLog(ahead, page_size=10))
    next(bench.pages())
    assert bench.meter.ages.freshness_s() == 3590


def test_lag_goes_by_the_servers_clock() -> None:
    bench = Bench(FakeLog([]))
    bench.meter._now = lambda: NOW + timedelta(days=400)  # a wrong host clock
    bench.drain()
    assert bench.meter.ages.freshness_s() == 0


def test_the_lag_before_the_first_page_comes_from_the_ledger() -> None:
    meter = Meter(now=lambda: NOW)
    assert meter.ages.freshness_s() is None
    hour = timedelta(hours=1)
    meter.start_at(
        Span(
            id=1,
            stream=STREAM,
            after=EARLIEST,
            reached=floor_id(NOW - 2 * hour),
            drained_at=NOW - hour,
        )
    )
    assert meter.ages.freshness_s() == 3600


def test_indexing_delay_is_between_an_events_date_and_its_log_id() -> None:
    late = record(1, "w", date=(NOW - timedelta(hours=1) - timedelta(seconds=6)).isoformat())
    bench = Bench(FakeLog([late]))
    bench.drain()
    assert value(bench.meter, "indexing_delay_seconds_count") == 1
    assert value(bench.meter, "indexing_delay_seconds_sum") == 7


def test_the_age_of_an_event_runs_until_it_is_settled() -> None:
    bench = Bench(FakeLog([record(1, "s")]))
    send = bench.sink.send

    def slowly(batch: Batch) -> Receipt:
        bench.seconds += 20
        return send(batch)

    bench.sink.send = slowly  # type: ignore[method-assign]  # a slow one
    bench.drain()
    assert value(bench.meter, "event_age_seconds_count") == 1
    assert value(bench.meter, "event_age_seconds_sum") == 3619


def test_the_tenants_time_goes_on_while_a_page_waits_for_its_turn() -> None:
    bench = Bench(FakeLog([record(1, "s")]))
    span = bench.ledger.live_span()
    assert span is not None
    waiting = TimedLog(bench.log, bench.meter).fetch(span)
    bench.seconds += 20
    bench.meter.count_fetched(waiting)
    assert bench.meter.ages.server_now() == NOW + timedelta(seconds=20)


def test_every_settled_page_is_a_success_even_an_empty_one() -> None:
    bench = Bench(FakeLog([]))
    bench.log.failures = [LATER]
    with pytest.raises(TransientError):
        bench.drain()
    assert value(bench.meter, "last_success_timestamp_seconds") == 0
    bench.drain()
    assert value(bench.meter, "last_success_timestamp_seconds") == NOW.timestamp()


def test_a_gap_is_counted() -> None:
    log = FakeLog(records(30), page_size=10)
    bench = Bench(log)
    next(bench.pages())
    log.floor = numbered(15, NOW - timedelta(hours=1) + timedelta(seconds=15))
    bench.drain()
    assert value(bench.meter, "gaps_total") == 1


@pytest.mark.parametrize(
    "date", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 1e300, "garbage", None]
)
def test_the_meter_accepts_every_date(date: object) -> None:
    assert_identity(Bench(FakeLog([record(1, "s", date=date), record(2, "w", date=date)])).drain())


# Under load


def test_the_identity_holds_at_every_scrape() -> None:
    kinds = [f"type_{number}" for number in range(40)]
    log = FakeLog(
        [record(number, kinds[number % 40] if number % 3 else "s") for number in range(1, 6000)]
    )
    bench = Bench(log)
    bench.sink.failures = [LATER]
    done, enough = threading.Event(), threading.Event()
    looks: Counter[bool] = Counter()
    wrong: list[AssertionError] = []

    def look() -> None:
        while not done.is_set():
            totals = scraped_totals(bench.meter)
            in_hand = totals.pop("events_in_hand")
            try:
                assert totals.pop("events_read_total") == totals.total() + in_hand
                assert in_hand in {0, 99, 100}  # whole pages, never a part of one
            except AssertionError as error:
                wrong.append(error)
            looks[in_hand > 0] += 1
            if looks[True] and looks.total() > 20:
                enough.set()

    send = bench.sink.send

    def send_when_seen(batch: Batch) -> Receipt:
        assert enough.wait(60)  # the page is in hand meanwhile
        return send(batch)

    bench.sink.send = send_when_seen  # type: ignore[method-assign]
    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with pytest.raises(TransientError):
            bench.drain()
        snapshot = bench.drain()
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert (sum(snapshot.read.values()), snapshot.in_hand) == (5999, 0)


# The metered parts


def test_a_metered_rate_limiter_limits_and_tells() -> None:
    limiter, meter = RateLimiter(threading.Event()), Meter()
    metered = MeteredRateLimiter(limiter, meter)
    metered.acquire("logs")
    metered.observe("logs", limit=50, remaining=9, reset_in=timedelta(seconds=1), is_refused=True)
    metered.acquire("users")
    metered.observe_nothing("users")
    status = limiter.status("logs")
    assert status is not None
    assert (status.limit, limiter.refused) == (50, 1)
    assert value(meter, "rate_limit_requests", endpoint="logs") == 50
    assert value(meter, "rate_limit_remaining_requests", endpoint="logs") == 9
    waited_s = value(meter, "rate_limit_wait_seconds_total", endpoint="logs")
    assert waited_s is not None
    assert waited_s >= 0


class FullDisk:
    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        raise TransientError(f"disk full at {at} after {error}")

    def note_blocked(self, error: FatalError | None) -> None:
        raise TransientError(f"disk full: {error}")


def test_the_meter_knows_of_a_block_even_if_the_note_fails() -> None:
    meter = Meter()
    journal = MeteredJournal(FullDisk(), meter)
    with pytest.raises(TransientError):
        journal.note_cycle(at=NOW, error=None)
    for error in (NEVER, None):
        with pytest.raises(TransientError):
            journal.note_blocked(error)
        assert meter.is_blocked == (error is not None)


# A backlog beside the live span


def slice_page(*numbers: int) -> Forwarded:
    """Return a settled page of a slice of a catch-up."""
    span = Span(
        id=2,
        stream=STREAM,
        after=EARLIEST,
        reached=EARLIEST,
        until=numbered(99),
        is_catch_up=True,
    )
    read = page(*numbers)
    return Forwarded(cursor=replace(span, reached=read.position), settlement=settlement(span, read))


def test_a_backlog_makes_the_lag_and_leaves_the_freshness_alone() -> None:
    bench = Bench(FakeLog([]))
    bench.drain()
    oldest = NOW - timedelta(hours=3)
    backlog = Backlog(
        since=NOW, slices_left=4, time_left=timedelta(hours=2), pages_left=120.5, oldest=oldest
    )
    bench.meter.watch_backlog(lambda: backlog)
    assert value(bench.meter, "freshness_seconds") == 0
    assert value(bench.meter, "lag_seconds") == 3 * 3600
    assert value(bench.meter, "position_age_seconds") == 3 * 3600
    assert value(bench.meter, "backlog_seconds") == 2 * 3600
    assert value(bench.meter, "backlog_pages") == 120.5
    assert value(bench.meter, "catch_up_slices") == 4


def test_a_daemon_without_a_backlog_tells_of_none() -> None:
    bench = Bench(FakeLog([]))
    bench.drain()
    assert value(bench.meter, "lag_seconds") == value(bench.meter, "freshness_seconds") == 0
    for name in ("backlog_seconds", "backlog_pages", "catch_up_slices"):
        assert value(bench.meter, name) == 0


def test_the_events_of_a_backlog_count_and_have_no_age() -> None:
    bench = Bench(FakeLog([]))
    bench.drain()
    bench.meter.count_settled(slice_page(1, 2, 3))
    assert value(bench.meter, "events_forwarded_total", type="s") == 3
    assert value(bench.meter, "event_age_seconds_count") == 0
    assert value(bench.meter, "freshness_seconds") == 0


def test_a_page_of_a_backlog_takes_nothing_out_of_the_hand_of_the_live_span() -> None:
    bench = Bench(FakeLog([record(number, "s") for number in range(1, 6)]))
    span = bench.ledger.live_span()
    assert span is not None
    bench.meter.count_fetched(bench.log.fetch(span))
    bench.meter.count_settled(slice_page(1, 2, 3))
    assert bench.meter.events.in_hand == 5
    bench.drain()
    assert bench.meter.events.in_hand == 0
    assert sum(bench.meter.events.read.values()) == 8
