"""The daemon compares Segment's counts once an hour, and no failure of it reaches the daemon."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from structlog.testing import capture_logs

from poller.cli.segment_proof.hourly_look import (
    HourlyLook,
    seconds_to_wait,
)
from poller.core.errors import TransientError
from poller.service.observability.instrumented import (
    MOST_MISSING,
    MOST_MISSING_SHARE,
    SegmentCounts,
    is_alarming,
)
from poller.service.observability.meter import Meter
from tests.fakes import NOW
from tests.paths import ROOT

COUNTS = SegmentCounts(at=NOW, acknowledged=1000, received=1000, missing=0)


class Clock:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = NOW

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def looked(look: Callable[[], SegmentCounts | None], meter: Meter) -> list[dict[str, Any]]:
    """Take one look, and return the lines that it logged."""
    clock = Clock()
    with capture_logs() as lines:
        HourlyLook(look, meter, now=lambda: clock.now, sleep=clock.sleep).wait_and_look()
    return list(map(dict, lines))


def value(meter: Meter, name: str, **labels: str) -> float | None:
    return meter.registry.get_sample_value(f"auth0_segment_poller_{name}", labels)


@pytest.mark.parametrize(
    ("now", "minutes"), [("08:00", 12), ("08:11", 1), ("08:12", 60), ("08:13", 59), ("23:59", 13)]
)
def test_a_look_begins_when_the_last_hour_is_final(now: str, minutes: int) -> None:
    moment = datetime.fromisoformat(f"2026-11-26T{now}:00+00:00")
    assert seconds_to_wait(moment) == minutes * 60


def test_looks_follow_each_other_by_an_hour() -> None:
    clock, times = Clock(), []

    def look() -> None:
        times.append(clock.now)
        clock.now += timedelta(minutes=7)  # a slow look

    hourly = HourlyLook(look, Meter(), now=lambda: clock.now, sleep=clock.sleep)
    for _ in range(3):
        hourly.wait_and_look()
    assert {later - time for time, later in pairwise(times)} == {timedelta(hours=1)}


def test_a_look_shows_its_counts_and_nothing_of_an_earlier_one() -> None:
    meter = Meter()
    assert value(meter, "segment_received_messages") is None
    first = SegmentCounts(
        at=NOW, acknowledged=9, received=7, missing=2, failed={"id_required": 2}, filtered={"x": 1}
    )
    assert looked(lambda: first, meter) == []
    assert value(meter, "segment_missing_messages") == 2
    assert value(meter, "segment_failed_on_ingest_messages", reason="id_required") == 2
    assert looked(lambda: COUNTS, meter) == []
    assert value(meter, "segment_missing_messages") == 0
    assert value(meter, "segment_failed_on_ingest_messages", reason="id_required") is None


@pytest.mark.parametrize("error", [TransientError("segment is down"), ValueError("a secret")])
def test_a_failed_look_is_one_line_and_one_count_and_keeps_the_last_counts(
    error: Exception,
) -> None:
    meter = Meter()
    looked(lambda: COUNTS, meter)

    def fail() -> None:
        raise error

    (line,) = looked(fail, meter)
    assert (line["event"], line["log_level"]) == ("source.not_compared", "warning")
    assert "secret" not in line["reason"]
    assert value(meter, "segment_looks_failed_total") == 1
    assert value(meter, "segment_received_messages") == 1000
    assert looked(lambda: COUNTS, meter) == []


def test_a_shortfall_is_told_in_the_log_too() -> None:
    few = SegmentCounts(at=NOW, acknowledged=1000, received=799, missing=201)
    (line,) = looked(lambda: few, Meter())
    assert (line["event"], line["missing"]) == ("source.messages_missing", 201)
    assert "verify --segment" in line["hint"]


@pytest.mark.parametrize(
    ("missing", "acknowledged", "is_told"),
    [(200, 1000, False), (201, 1000, True), (500, 50_000, False), (501, 50_000, True)],
)
def test_the_log_and_the_alert_have_the_same_bounds(
    missing: int, acknowledged: int, is_told: bool
) -> None:
    counts = SegmentCounts(at=NOW, acknowledged=acknowledged, received=0, missing=missing)
    assert is_alarming(counts) == is_told
    rule = (ROOT / "systemd/monitoring/alerts.yml").read_text().split("SegmentMisses\n")[1]
    assert re.findall(r"> ([\d.]+)", rule) == [str(MOST_MISSING), str(MOST_MISSING_SHARE)]


def test_nothing_is_shown_before_the_ledger_has_counted() -> None:
    meter = Meter()
    assert looked(lambda: None, meter) == []
    assert value(meter, "segment_received_messages") is None
