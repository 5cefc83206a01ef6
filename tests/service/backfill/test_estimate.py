"""The estimate of a plan is about right, costs few requests, and may be unknown."""

from datetime import timedelta

import pytest

from poller.core.events import LogEvent, parse_events
from poller.core.log_ids import LogId, floor_id
from poller.core.spans import LogRange
from poller.service.backfill.estimate import SAMPLES, Estimate, estimate, parallelism
from poller.service.upstream.rate_limit import RateLimitStatus
from tests.builders import record
from tests.fakes import NOW, numbered

DAY = timedelta(days=1)
ENTERPRISE = RateLimitStatus(limit=50, remaining=50.0, per_second=0.0)


class Log:
    """A log of events at even distances through all of time. Every other event is a login."""

    def __init__(self, every: timedelta) -> None:
        self.every = every
        self.asked = 0

    def sample(self, after: LogId) -> tuple[LogEvent, ...]:
        self.asked += 1
        begin = next(moment for moment in moments(self.every) if numbered(1, moment) > after)
        records = [
            record(0, "s" if number % 2 else "w")
            | {"log_id": numbered(1, begin + number * self.every)}
            for number in range(100)
        ]
        return parse_events(records, after=after)


def moments(every: timedelta) -> list:  # type: ignore[type-arg]
    count = int(12 * DAY / every)
    return [NOW - 10 * DAY + number * every for number in range(count)]


def guessed(
    log: Log, *stretches: LogRange, rate_limit: RateLimitStatus | None = ENTERPRISE, most: int = 0
) -> Estimate:
    return estimate(
        stretches,
        log.sample,
        lambda event: event.type == "s",
        parallel=8,
        latency_s=0.1,
        rate_limit=rate_limit,
        messages_per_second=most,
    )


def stretch(begin: timedelta, end: timedelta) -> LogRange:
    return LogRange(after=floor_id(NOW + begin), until=floor_id(NOW + end))


def test_the_estimate_is_about_right_after_few_requests() -> None:
    log = Log(timedelta(seconds=30))
    found = guessed(log, stretch(-4 * DAY, -3 * DAY), stretch(-2 * DAY, -1 * DAY))
    assert log.asked == SAMPLES
    assert found.events == pytest.approx(2 * 2880, rel=0.02)
    assert found.of_interest == pytest.approx(2880, rel=0.05)
    assert 58 <= found.requests <= 58 + 16 + 41
    assert found.duration is not None
    assert found.duration.total_seconds() == pytest.approx((found.requests - 50) / 16, rel=0.01)


def test_a_stretch_shorter_than_a_page_is_counted_and_one_with_nothing_is_nothing() -> None:
    log = Log(timedelta(minutes=1))
    assert guessed(log, stretch(-DAY, -DAY + timedelta(minutes=30))).events == pytest.approx(
        30, abs=10
    )
    assert guessed(log).events == 0
    assert guessed(log).duration == timedelta()


def test_the_slowest_of_what_limits_it_counts() -> None:
    log, asked = Log(timedelta(seconds=60)), stretch(-2 * DAY, -DAY)
    by_messages = guessed(log, asked, most=1).duration
    assert by_messages is not None
    assert by_messages.total_seconds() == pytest.approx(720, rel=0.02)
    unlimited = guessed(
        log, asked, rate_limit=RateLimitStatus(limit=10**6, remaining=10.0**6, per_second=0.0)
    ).duration
    assert unlimited is not None
    assert unlimited.total_seconds() == pytest.approx(15 * 0.2 / 8, rel=0.05)


def test_the_estimate_names_no_duration_without_a_known_limit() -> None:
    log, asked = Log(timedelta(seconds=60)), stretch(-2 * DAY, -DAY)
    assert (
        guessed(
            log, asked, rate_limit=RateLimitStatus(limit=33, remaining=33.0, per_second=0.0)
        ).duration
        is None
    )


@pytest.mark.parametrize(
    ("limit", "latency_s", "slices"), [(2, 0.1, 2), (10, 0.1, 6), (50, 0.1, 8), (50, 0.5, 16)]
)
def test_the_rate_limit_and_the_latency_decide_the_number_of_slices(
    limit: int, latency_s: float, slices: int
) -> None:
    assert (
        parallelism(RateLimitStatus(limit=limit, remaining=1.0, per_second=0.0), latency_s)
        == slices
    )
