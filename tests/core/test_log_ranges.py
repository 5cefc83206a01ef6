"""What is settled: the union of the spans, up to where the log was seen to end, without what retention took."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from poller.core.events import Gap, Span
from poller.core.log_ids import LogId, floor_id
from poller.core.log_ranges import clipped, covering, holes, settled
from tests.fakes import NOW, STREAM

HOUR = timedelta(hours=1)


def at(hours: float) -> LogId:
    return floor_id(NOW + hours * HOUR)


def span(
    after: LogId,
    reached: LogId,
    until: LogId | None = None,
    drained_at: datetime | None = None,
    number: int = 1,
) -> Span:
    return Span(
        id=number, stream=STREAM, after=after, reached=reached, until=until, drained_at=drained_at
    )


def bounds(*spans: Span, gaps: tuple[Gap, ...] = ()) -> list[tuple[LogId, LogId]]:
    return [(each.after, each.until) for each in settled(spans, gaps)]


def test_spans_that_touch_are_one_and_an_unfinished_one_counts_as_far_as_it_came() -> None:
    assert bounds(span(at(2), at(4), at(4)), span(at(0), at(2), at(2))) == [(at(0), at(4))]
    assert bounds(span(at(0), at(1), at(2)), span(at(2), at(4), at(4))) == [
        (at(0), at(1)),
        (at(2), at(4)),
    ]
    assert bounds(span(at(0), at(0), at(2))) == []


def test_a_quiet_live_span_reaches_to_where_the_end_of_the_log_was_seen_and_no_other_does() -> None:
    assert bounds(span(at(0), at(1), drained_at=NOW + 5 * HOUR)) == [(at(0), at(5))]
    assert bounds(span(at(0), at(6), drained_at=NOW + 5 * HOUR)) == [(at(0), at(6))]
    assert bounds(span(at(0), at(1), at(1), drained_at=NOW + 5 * HOUR)) == [(at(0), at(1))]


def test_what_retention_took_is_not_settled() -> None:
    ((begin, end), (after, until)) = bounds(
        span(at(0), at(9)), gaps=(Gap(after=at(3), before=at(5)),)
    )
    assert (begin, end, until) == (at(0), at(3), at(9))
    assert after < at(5)  # the event that ends the gap is settled
    assert bounds(span(at(0), at(9)), gaps=(Gap(after=at(0), before=at(20)),)) == []


def test_what_was_a_gap_is_settled_as_far_as_it_was_read_again() -> None:
    held = settled([span(at(0), at(9))], revisits=[span(at(3), at(4), at(6))])
    assert [(each.after, each.until) for each in held] == [(at(0), at(4)), (at(6), at(9))]


def test_a_gap_that_was_read_once_stays_settled() -> None:
    gap = Gap(after=at(3), before=at(5), is_read_once=True)
    assert bounds(span(at(0), at(9)), gaps=(gap,)) == [(at(0), at(9))]


def test_a_hole_lies_between_spans_that_do_not_touch() -> None:
    spans = [span(at(0), at(2), at(4)), span(at(4), at(5), at(5)), span(at(7), at(9))]
    assert [(each.after, each.until) for each in holes(spans)] == [(at(5), at(7))]


def test_a_stretch_is_covered_only_by_one_that_holds_it_whole() -> None:
    held = settled([span(at(0), at(4), at(4)), span(at(5), at(9), at(9))])
    assert covering(held, NOW, NOW + 4 * HOUR) == held[0]
    assert covering(held, NOW, NOW + 6 * HOUR) is None
    assert [(each.after, each.until) for each in clipped(held, at(3), at(6))] == [
        (at(3), at(4)),
        (at(5), at(6)),
    ]


Pairs = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=8)


@given(Pairs, Pairs)
def test_an_hour_is_settled_if_and_only_if_some_span_holds_it_and_no_gap_does(
    held: list[tuple[int, int]], lost: list[tuple[int, int]]
) -> None:
    spans = [span(at(begin), at(begin + size), at(begin + size)) for begin, size in held]
    gaps = [Gap(after=at(begin), before=at(begin + size)) for begin, size in lost]
    found = settled(spans, gaps)
    for hour in range(55):
        is_held = any(begin <= hour < begin + size for begin, size in held)
        is_lost = any(begin <= hour < begin + size for begin, size in lost)
        # Of an hour that follows a gap, the stretch has one position more.
        covered = any(each.after <= at(hour) and at(hour + 1) <= each.until for each in found)
        if is_lost or not is_held:
            assert not covered
        elif not any(begin == hour + 1 for begin, _ in lost):
            assert covered
