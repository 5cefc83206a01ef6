"""The numbers and the ranges of the page are those of the metrics and of the ledger."""

from dataclasses import replace
from datetime import timedelta

from poller.core.log_ids import floor_id
from poller.core.spans import Gap, LogRange, ReopenedGap, Span
from poller.core.text.dates import iso
from poller.service.observability.instrumented import SegmentCounts
from poller.service.observability.meter import Meter
from poller.service.page.numbers import MOST_SAMPLES, Numbers
from poller.service.page.ranges import ranges_of, slices_of
from poller.service.watching.feed import Feed
from tests.fakes import NOW, STREAM
from tests.service.page.browsers import login, served, settled

HOUR = timedelta(hours=1)


def test_the_numbers_are_those_of_the_metrics() -> None:
    meter = Meter(now=lambda: NOW)
    numbers = Numbers(meter, now=lambda: NOW)
    meter.count_settled(settled(login(), {"type": "fp"}, login(user=None)))
    meter.set_rate_limit("logs", limit=50, remaining=40)
    meter.requests_to("segment")("/v1/batch", 200, 0.1)
    meter.set_segment_counts(SegmentCounts(at=NOW, acknowledged=9, received=8, missing=1))
    shown = numbers.now()
    assert shown["events"] | {"read": 0} == {
        "read": 0,
        "forwarded": 1,
        "filtered": 1,
        "dead_lettered": 1,
    }
    assert shown["rate_limits"] == [{"endpoint": "logs", "limit": 50, "remaining": 40}]
    ok = {"service": "segment", "call": "batch", "outcome": "ok", "count": 1}
    assert ok in shown["requests"]
    assert (shown["segment"]["received"], shown["segment"]["missing"]) == (8, 1)
    assert shown["ages"]["backlog_seconds"] == 0.0


def test_the_samples_of_the_last_hour_are_kept_and_no_more() -> None:
    numbers = Numbers(Meter(), now=lambda: NOW)
    for _ in range(MOST_SAMPLES + 5):
        numbers.take_sample()
    assert len(numbers.samples) == MOST_SAMPLES
    assert numbers.samples[0]["at"] == iso(NOW)


def test_the_history_is_served() -> None:
    with served(Feed()) as browser:
        (sample,) = browser.sign_in().ask("/history").json["samples"]
    assert sample["forwarded"] == 0
    assert sample["freshness_seconds"] is None


def span(begin: int, reached: int, end: int | None, **values: bool) -> Span:
    """Return a span from and to these hours before now."""
    at = [floor_id(NOW - HOUR * hours) for hours in (begin, reached)]
    until = None if end is None else floor_id(NOW - HOUR * end)
    made = Span.unsettled(STREAM, after=at[0], until=until)
    return replace(made, id=1, reached=at[1], **values)


def test_each_range_of_the_ledger_has_its_kind() -> None:
    live = replace(span(2, 1, None), drained_at=NOW - HOUR / 2)
    gap = Gap(after=floor_id(NOW - 9 * HOUR), before=floor_id(NOW - 8 * HOUR))
    hole = LogRange(after=floor_id(NOW - 4 * HOUR), until=floor_id(NOW - 2 * HOUR))
    cursors = [span(10, 7, 6), span(6, 5, 4, is_catch_up=True), live]
    ranges = ranges_of(cursors, [gap], [hole], NOW - 12 * HOUR, NOW)
    shown = [(each["kind"], each["begin"], each["end"]) for each in ranges]
    assert shown == [
        (kind, iso(NOW - HOUR * begin), iso(NOW - HOUR * end))
        for kind, begin, end in [
            ("hole", 4, 2),
            ("backfill", 10, 7),
            ("unfinished", 7, 6),
            ("catch_up", 6, 5),
            ("unfinished", 5, 4),
            ("live", 2, 0.5),
            ("ahead", 0.5, 0),
            ("gap", 9, 8),
        ]
    ]


def test_a_gap_that_is_read_after_all_is_unfinished_above_its_position() -> None:
    ids = [floor_id(NOW - HOUR * hours) for hours in (3, 2, 1)]
    gap = ReopenedGap(id=1, stream=STREAM, after=ids[0], reached=ids[1], until=ids[2])
    (shown,) = ranges_of([gap], [], [], NOW - 5 * HOUR, NOW)
    assert (shown["kind"], shown["begin"]) == ("unfinished", iso(NOW - 2 * HOUR))


def test_a_slice_shows_the_part_that_is_done() -> None:
    done = span(4, 2, 2)
    (shown,) = slices_of([span(4, 3, 2), done, span(2, 1, None)])
    assert (shown["kind"], shown["part_done"]) == ("backfill", 0.5)
