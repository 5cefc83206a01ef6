"""Maintenance warns in time, and only if there is something to warn of."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from poller.core.errors import TransientError
from poller.core.log_ids import EARLIEST, LogId, floor_id
from poller.core.spans import Span
from poller.service.daemon.maintenance import (
    ACKNOWLEDGED_RETENTION,
    LAST_SENT_LIMIT,
    LAST_SENT_RETENTION,
    MAINTENANCE_INTERVAL_S,
    Maintenance,
)
from tests.fakes import LATER, NOW, STREAM

DAY = timedelta(days=1)


class Bench:
    """A position, a log that keeps ten days, and a clock turned by hand."""

    def __init__(self) -> None:
        self.now = NOW
        self.kept = 10 * DAY
        self.is_up = True
        self.newest: LogId | None = None
        self.are_clocks_apart = False
        self.agreed: datetime | None = None
        self.discards: list[datetime] = []
        self.forgotten: list[tuple[datetime, int]] = []
        self.acknowledged_before: list[datetime] = []
        self.span: Span | None = Span(
            id=1, stream=STREAM, after=EARLIEST, reached=floor_id(NOW), drained_at=NOW
        )
        self.maintenance = Maintenance(
            self,
            self,
            agreed=lambda: self.agreed if self.are_clocks_apart else self.now,
            dead_letter_retention=30 * DAY,
            monotonic=lambda: timedelta.total_seconds(self.now - NOW),
            now=lambda: self.now,
        )

    def live_span(self) -> Span | None:
        return self.span

    def forget_last_sent(self, before: datetime, *, keep: int) -> int:
        self.forgotten.append((before, keep))
        return 0

    def forget_acknowledged(self, before: datetime) -> int:
        self.acknowledged_before.append(before)
        return 0

    def discard_dead_letters(self, before: datetime) -> int:
        self.discards.append(before)
        return 0

    def oldest_kept(self) -> tuple[LogId | None, datetime]:
        if not self.is_up:
            raise LATER
        return floor_id(self.now - self.kept), self.now

    def newest_id_in_search(self) -> LogId | None:
        if not self.is_up:
            raise LATER
        return self.newest

    def wait(self, by: timedelta) -> None:
        """Let time pass, with a run every hour."""
        end = self.now + by
        while self.now < end:
            self.now += timedelta(hours=1)
            self.maintenance.run_if_due()


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines  # type: ignore[misc]


def warnings(logs: list[dict[str, object]]) -> list[float]:
    """Return the days that were left at each warning."""
    return [
        round(float(str(line["left_s"])) / 86400, 1)
        for line in logs
        if line["event"] == "retention.near"
    ]


@pytest.mark.parametrize("is_up", [True, False], ids=["Segment is down", "Auth0 is down"])
def test_each_warning_comes_at_half_of_the_remaining_time(
    logs: list[dict[str, object]], is_up: bool
) -> None:
    bench = Bench()
    bench.maintenance.run_if_due()
    bench.is_up = is_up
    bench.wait(4.9 * DAY)
    assert warnings(logs) == []
    bench.wait(5 * DAY)
    assert warnings(logs)[:4] == [5.0, 2.5, 1.2, 0.6]


def test_a_silent_tenant_is_not_warned_of(logs: list[dict[str, object]]) -> None:
    bench = Bench()
    for _ in range(30):
        bench.wait(DAY)
        assert bench.span is not None
        bench.span = replace(bench.span, drained_at=bench.now)
    assert warnings(logs) == []


def test_a_recovery_makes_the_next_warning_a_first_one(logs: list[dict[str, object]]) -> None:
    bench = Bench()
    bench.wait(6 * DAY)
    assert bench.span is not None
    bench.span = replace(bench.span, drained_at=bench.now)
    bench.wait(6 * DAY)
    assert warnings(logs) == [5.0, 5.0]


def test_maintenance_runs_every_ten_minutes_at_any_length_of_cycle() -> None:
    bench = Bench()
    for _ in range(100):
        bench.now += timedelta(seconds=MAINTENANCE_INTERVAL_S / 10)
        bench.maintenance.run_if_due()
    assert len(bench.discards) in {10, 11}
    assert bench.discards[0] == NOW + timedelta(seconds=MAINTENANCE_INTERVAL_S / 10) - 30 * DAY


def test_nothing_is_discarded_on_the_word_of_one_clock(logs: list[dict[str, object]]) -> None:
    bench = Bench()
    bench.are_clocks_apart = True
    bench.wait(40 * DAY)
    assert (bench.discards, bench.forgotten, bench.acknowledged_before) == ([], [], [])
    assert [line["event"] for line in logs].count("clocks.disagreed") == 1


def test_rows_are_discarded_by_the_time_that_two_clocks_agree_on() -> None:
    bench = Bench()
    bench.are_clocks_apart = True
    bench.agreed = NOW - 40 * DAY
    bench.maintenance.run_if_due()
    assert bench.discards == [NOW - 70 * DAY]
    assert bench.forgotten == [(NOW - 40 * DAY - LAST_SENT_RETENTION, LAST_SENT_LIMIT)]
    assert bench.acknowledged_before == [NOW - 40 * DAY - ACKNOWLEDGED_RETENTION]


def test_a_failure_of_maintenance_stops_nothing() -> None:
    bench = Bench()

    def fail(before: datetime) -> int:
        del before
        raise TransientError("disk full")

    bench.discard_dead_letters = fail  # type: ignore[method-assign] # the fault itself
    bench.maintenance.run_if_due()


def test_before_the_first_start_there_is_nothing_to_watch(logs: list[dict[str, object]]) -> None:
    bench = Bench()
    bench.span = None
    bench.wait(20 * DAY)
    assert warnings(logs) == []


def test_maintenance_reports_the_retention_that_is_left() -> None:
    told: list[timedelta] = []
    bench = Bench()
    now = lambda: bench.now  # noqa: E731 - said twice
    Maintenance(
        bench, bench, agreed=now, dead_letter_retention=DAY, measured=told.append, now=now
    ).run_if_due()
    assert told == [10 * DAY]


@pytest.mark.parametrize(
    ("newest", "is_told"),
    [
        (LogId("5f" + "0" * 22), True),
        (LogId("8002026112012000000000"), True),
        (floor_id(NOW - DAY), False),  # the search lags
        (floor_id(NOW + DAY), False),
        (None, False),
    ],
)
def test_a_log_whose_new_events_sort_below_the_position_is_told_of_once(
    logs: list[dict[str, object]], newest: LogId | None, is_told: bool
) -> None:
    bench = Bench()
    bench.newest = newest
    bench.wait(timedelta(hours=5))
    told = [line for line in logs if line["event"] == "log.ids_below_position"]
    assert [line["log_level"] for line in told] == ["error"] * is_told
