"""The interval algebra of the log: union, difference and clip."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from poller.core.log_ids import LogId, floor_id
from poller.core.spans import (
    Gap,
    LogRange,
    Span,
    clip,
    difference,
    holes_between,
    join_touching,
    range_covering,
    settled_ranges,
    union,
)
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
    return [(each.after, each.until) for each in settled_ranges(spans, gaps)]


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


def test_a_gap_is_not_settled() -> None:
    ((begin, end), (after, until)) = bounds(
        span(at(0), at(9)), gaps=(Gap(after=at(3), before=at(5)),)
    )
    assert (begin, end, until) == (at(0), at(3), at(9))
    assert after < at(5)  # the event that ends the gap is settled
    assert bounds(span(at(0), at(9)), gaps=(Gap(after=at(0), before=at(20)),)) == []


def test_a_reopened_gap_is_settled_as_far_as_it_was_read_again() -> None:
    held = settled_ranges([span(at(0), at(9))], revisits=[span(at(3), at(4), at(6))])
    assert [(each.after, each.until) for each in held] == [(at(0), at(4)), (at(6), at(9))]


def test_a_gap_that_was_read_once_stays_settled() -> None:
    gap = Gap(after=at(3), before=at(5), is_read_once=True)
    assert bounds(span(at(0), at(9)), gaps=(gap,)) == [(at(0), at(9))]


def test_a_hole_lies_between_spans_that_do_not_touch() -> None:
    spans = [span(at(0), at(2), at(4)), span(at(4), at(5), at(5)), span(at(7), at(9))]
    assert [(each.after, each.until) for each in holes_between(spans)] == [(at(5), at(7))]


def test_a_stretch_is_covered_only_by_one_that_holds_it_whole() -> None:
    held = settled_ranges([span(at(0), at(4), at(4)), span(at(5), at(9), at(9))])
    assert range_covering(held, NOW, NOW + 4 * HOUR) == held[0]
    assert range_covering(held, NOW, NOW + 6 * HOUR) is None
    assert [(each.after, each.until) for each in clip(held, at(3), at(6))] == [
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
    found = settled_ranges(spans, gaps)
    for hour in range(55):
        is_held = any(begin <= hour < begin + size for begin, size in held)
        is_lost = any(begin <= hour < begin + size for begin, size in lost)
        # Of an hour that follows a gap, the stretch has one position more.
        covered = any(each.after <= at(hour) and at(hour + 1) <= each.until for each in found)
        if is_lost or not is_held:
            assert not covered
        elif not any(begin == hour + 1 for begin, _ in lost):
            assert covered


# The model: a log of forty ids, and for each range the set of the ids that lie in it.
LOG = range(1, 41)
Ranges = st.lists(
    st.builds(
        lambda after, until: LogRange(after=LogId(f"{after:02d}"), until=LogId(f"{until:02d}")),
        st.integers(0, 40),
        st.integers(0, 40),
    ),
    max_size=8,
)


def ids_in(ranges: Iterable[LogRange]) -> set[int]:
    return {
        number for number in LOG for each in ranges if each.after < f"{number:02d}" <= each.until
    }


def are_apart(ranges: Sequence[LogRange]) -> bool:
    return all(each.after < each.until for each in ranges) and all(
        below.until < above.after for below, above in pairwise(ranges)
    )


@given(Ranges)
def test_a_union_holds_what_its_ranges_hold_in_as_few_ranges_as_can_be(
    ranges: list[LogRange],
) -> None:
    joined = union(ranges)
    assert ids_in(joined) == ids_in(ranges)
    assert are_apart(joined)
    assert union(joined) == joined


@given(Ranges, Ranges)
def test_a_difference_holds_what_the_first_ranges_hold_and_the_second_do_not(
    kept: list[LogRange], removed: list[LogRange]
) -> None:
    rest = difference(kept, removed)
    assert ids_in(rest) == ids_in(kept) - ids_in(removed)
    assert are_apart(rest)


@given(Ranges, st.integers(0, 40), st.integers(0, 40))
def test_a_clip_holds_what_lies_within_both_ends(
    ranges: list[LogRange], after: int, until: int
) -> None:
    parts = clip(ranges, LogId(f"{after:02d}"), LogId(f"{until:02d}"))
    assert ids_in(parts) == ids_in(ranges) & set(range(after + 1, until + 1))
    assert all(after < int(part.until) for part in parts)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)), min_size=1, max_size=6))
def test_spans_and_the_holes_between_them_hold_every_id_once(sizes: list[tuple[int, int]]) -> None:
    edges, spans = 0, []
    for number, (distance, size) in enumerate(sizes):
        after, until = LogId(f"{edges + distance:03d}"), LogId(f"{edges + distance + size:03d}")
        edges += distance + size
        spans.append(span(after, until, until, number=number))
    owned = [LogRange(after=each.after, until=each.reached) for each in spans]
    holes = holes_between(spans, since=LogId("000"))
    whole = LogRange(after=LogId("000"), until=LogId(f"{edges:03d}"))
    assert union([*owned, *holes]) == (whole,)
    assert difference(holes, owned) == holes


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=8))
def test_a_join_keeps_every_upper_row_and_all_that_is_settled(
    sizes: list[tuple[int, bool]],
) -> None:
    edge, spans = 0, []
    for number, (size, is_finished) in enumerate(sizes):
        after, until = LogId(f"{edge:02d}"), LogId(f"{edge + size + 1:02d}")
        edge += size + 1
        spans.append(span(after, until if is_finished else after, until, number=number))
    joined = join_touching(reversed(spans))
    assert settled_ranges(joined) == settled_ranges(spans)
    assert [each.id for each in joined] == [
        each.id for each in spans if not each.is_done or each is spans[-1]
    ]
    assert all(replace(each, after=spans[each.id].after) == spans[each.id] for each in joined)
