"""The plan of a backfill holds exactly the ranges outside all spans, and its slices fill it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.core.log_ids import EARLIEST, LogId, floor_id, predecessor
from poller.core.spans import Gap, Inherited, LogCursor, LogRange, ReopenedGap, Resend, Span
from poller.service.backfill.plan import plan
from poller.service.slices.slice import SHORTEST_SLICE, cut_into_slices
from tests.fakes import NOW, STREAM, numbered

HOUR = timedelta(hours=1)


def at(hours: float) -> LogId:
    return floor_id(NOW + hours * HOUR)


def span(after: float, until: float | None, reached: float | None = None) -> Span:
    end = None if until is None else at(until)
    return Span(
        id=int(after),
        stream=STREAM,
        after=at(after),
        reached=at(after if reached is None else reached),
        until=end,
    )


def revisit(
    kind: type[ReopenedGap | Resend], after: float, until: float, reached: float
) -> LogCursor:
    return kind(id=1, stream=STREAM, after=at(after), reached=at(reached), until=at(until))


def hours(
    since: float, until: float, *spans: Span, oldest: LogId | None = None
) -> list[tuple[LogId, LogId]]:
    found = plan(spans, at(since), at(until), oldest=oldest or at(-500))
    return [(stretch.after, stretch.until) for stretch in found.missing]


def test_a_stretch_that_no_span_covers_is_missing() -> None:
    assert hours(0, 10) == [(at(0), at(10))]
    assert hours(0, 10, span(2, 4, 4), span(4, 5, 5), span(9, 20, 20)) == [
        (at(0), at(2)),
        (at(5), at(9)),
    ]
    assert hours(3, 4, span(2, 5, 5)) == []


def test_the_plan_ends_at_the_beginning_of_the_live_span() -> None:
    assert hours(0, 10, span(6, None, 8)) == [(at(0), at(6))]
    assert hours(7, 10, span(6, None, 8)) == []


def test_an_unfinished_span_is_continued_and_a_finished_one_is_not() -> None:
    begun, done, elsewhere = span(2, 4, 3), span(4, 5, 5), span(50, 60, 50)
    found = plan([begun, done, elsewhere], at(0), at(10), oldest=at(-500))
    assert found.unfinished == (begun,)
    assert not found.is_empty


def test_an_unfinished_span_that_has_passed_the_range_is_left_to_another_run() -> None:
    assert plan([span(2, 20, 12)], at(0), at(10), oldest=at(-500)).unfinished == ()
    assert plan([span(2, 20, 10)], at(0), at(10), oldest=at(-500)).unfinished == ()


def test_the_plan_begins_just_below_the_oldest_event_kept() -> None:
    oldest = numbered(5, NOW + 2 * HOUR)
    found = plan([], at(0), at(10), oldest=oldest)
    assert found.is_cut_off
    assert found.missing == (LogRange(after=predecessor(oldest) or EARLIEST, until=at(10)),)
    all_there_is = plan([], EARLIEST, at(10), oldest=oldest)
    assert (all_there_is.missing, all_there_is.is_cut_off) == (found.missing, False)
    assert plan([], at(3), at(10), oldest=oldest).is_cut_off is False


@pytest.mark.parametrize(("since", "until"), [(5, 5), (6, 5)])
def test_a_range_without_anything_in_it_has_an_empty_plan(since: float, until: float) -> None:
    assert plan([], at(since), at(until), oldest=at(-500)).is_empty
    assert plan([], at(0), at(5), oldest=None).is_empty


BOUNDS = st.integers(0, 60)


@given(BOUNDS, BOUNDS, st.lists(st.tuples(BOUNDS, BOUNDS, BOUNDS), max_size=6), st.integers(1, 40))
def test_slices_are_all_that_is_missing_and_touch_no_span(
    since: int, until: int, others: list[tuple[int, int, int]], pieces: int
) -> None:
    spans = [span(a, max(b, a + 1), min(max(a, r), max(b, a + 1))) for a, b, r in others]
    found = plan(spans, at(since), at(until), oldest=at(-500))
    slices = cut_into_slices(found.missing, pieces)
    for quarter in range(61 * 4):
        event = numbered(1, NOW + HOUR * quarter / 4)
        covered = any(other.after < event <= (other.until or "") for other in spans)
        wanted = at(since) < event <= at(until) and not covered
        assert sum(piece.after < event <= piece.until for piece in slices) == wanted
    assert list(slices) == sorted(slices, key=lambda piece: piece.after)
    assert all(piece.after < piece.until for piece in slices)


def test_slices_are_no_shorter_than_they_are_worth() -> None:
    short = LogRange(after=at(0), until=floor_id(NOW + 2 * SHORTEST_SLICE))
    assert len(cut_into_slices([short], 100)) == 2
    a_little_less = LogRange(
        after=at(0), until=floor_id(NOW + 2 * SHORTEST_SLICE - timedelta(seconds=1))
    )
    assert len(cut_into_slices([a_little_less], 100)) == 2
    assert len(cut_into_slices([LogRange(after=at(0), until=at(16))], 16)) == 16


def test_again_sends_all_that_is_settled_in_the_range_with_the_live_part() -> None:
    spans = [span(0, 4, 4), span(6, 9, 8), span(20, None, 25)]
    found = plan(spans, at(2), at(30), oldest=at(-500), is_again=True)
    assert found.again == (
        LogRange(after=at(2), until=at(4)),
        LogRange(after=at(6), until=at(8)),
        LogRange(after=at(20), until=at(25)),
    )
    assert found.missing == (
        LogRange(after=at(4), until=at(6)),
        LogRange(after=at(9), until=at(20)),
    )
    assert [each.id for each in found.unfinished] == [6]
    assert plan(spans, at(2), at(30), oldest=at(-500)).again == ()


def test_a_resend_that_was_begun_is_continued() -> None:
    spans = [span(0, 10, 10)]
    begun = revisit(Resend, 2, 8, 3)
    found = plan(spans, at(0), at(10), oldest=at(-500), revisits=[begun], is_again=True)
    assert found.unfinished == (begun,)
    assert found.again == (LogRange(after=at(0), until=at(3)), LogRange(after=at(8), until=at(10)))
    # It was asked for before: a run without it goes on with it too.
    assert plan(spans, at(0), at(10), oldest=at(-500), revisits=[begun]).unfinished == (begun,)


def test_all_is_sent_again_where_a_removed_route_left_events() -> None:
    left = Inherited(id=1, stream=STREAM, after=at(2), reached=at(3), until=at(8))
    found = plan([span(0, 10, 10)], at(0), at(10), oldest=at(-500), revisits=[left], is_again=True)
    assert found.again == (LogRange(after=at(0), until=at(10)),)
    assert found.unfinished == (left,)


def test_a_gap_counts_only_while_some_of_it_can_be_read_again() -> None:
    spans = [span(0, None, 100)]
    gap, gone = Gap(after=at(10), before=at(20)), Gap(after=at(2), before=at(4))
    found = plan(spans, at(0), at(50), oldest=at(15), gaps=[gone, gap])
    assert found.gaps == (gap,)
    assert found.ranges_to_read == (
        LogRange(after=predecessor(at(15)) or at(15), until=predecessor(at(20)) or at(20)),
    )
    assert plan(spans, at(30), at(50), oldest=at(15), gaps=[gap]).gaps == ()
    assert plan(spans, at(0), at(50), oldest=at(20), gaps=[gap]).gaps == ()
    assert plan(spans, at(0), at(10), oldest=at(1), gaps=[gap]).gaps == ()


def test_a_gap_that_no_span_has_passed_is_left_to_the_one_that_will_read_it() -> None:
    gap = Gap(after=at(10), before=at(20))
    empty, passed = span(0, None, 10), span(0, None, 19)
    assert plan([empty], at(0), at(50), oldest=at(1), gaps=[gap]).gaps == ()
    assert plan([passed], at(0), at(50), oldest=at(1), gaps=[gap]).gaps == (gap,)


def test_a_gap_that_was_read_once_is_never_read_again() -> None:
    gap = Gap(after=at(10), before=at(20), is_read_once=True)
    assert plan([span(0, None, 100)], at(0), at(50), oldest=at(1), gaps=[gap]).gaps == ()


def test_gaps_that_overlap_are_taken_one_at_a_time() -> None:
    one, other, third = (Gap(after=at(a), before=at(b)) for a, b in ((1, 5), (2, 6), (6, 8)))
    found = plan([span(0, None, 9)], at(0), at(9), oldest=at(-500), gaps=[one, other, third])
    assert found.gaps == (one, third)
    next_one = Gap(after=at(5), before=at(6))
    assert plan([span(0, None, 9)], at(0), at(9), oldest=at(-500), gaps=[one, next_one]).gaps == (
        one,
        next_one,
    )


def test_an_unfinished_span_that_retention_took_is_walked_to_record_its_gap() -> None:
    begun, rest = span(2, 4, 3), revisit(ReopenedGap, 1, 3, 1)
    found = plan([begun], EARLIEST, at(50), oldest=at(20), revisits=[rest])
    assert found.unfinished == (begun, rest)
    assert not found.is_empty
    emptied = plan([begun], EARLIEST, at(50), oldest=None, revisits=[rest])
    assert emptied.unfinished == (begun, rest)


def test_a_range_wholly_below_retention_is_told_so() -> None:
    found = plan([], at(0), at(10), oldest=at(20))
    assert found.is_empty
    assert found.is_cut_off


def test_a_gap_is_read_again_whatever_is_sent_again_around_it() -> None:
    gap = Gap(after=at(10), before=at(20))
    at_work = revisit(Resend, 9, 20, 12)
    found = plan([span(0, None, 100)], at(0), at(50), oldest=at(1), gaps=[gap], revisits=[at_work])
    assert (found.gaps, found.unfinished) == ((gap,), (at_work,))


def test_a_gap_that_is_being_read_again_is_not_taken_twice() -> None:
    gap = Gap(after=at(10), before=at(20))
    at_work = revisit(ReopenedGap, 9, 20, 12)
    found = plan([span(0, None, 100)], at(0), at(50), oldest=at(1), gaps=[gap], revisits=[at_work])
    assert (found.gaps, found.unfinished) == ((), (at_work,))


def test_a_range_above_the_end_is_not_cut_off_however_young_the_log_is() -> None:
    found = plan((), at(-0.1), at(-0.2), oldest=at(-0.05))
    assert found.is_empty
    assert not found.is_cut_off
    assert (found.since, found.until) == (at(-0.1), at(-0.1))


def test_a_stretch_above_a_span_that_retention_took_is_walked_to_record_its_gap() -> None:
    oldest = at(-2)
    found = plan((span(-9, -8, -8), span(-6, -5, -5)), EARLIEST, at(0), oldest=oldest)
    bound = predecessor(oldest)
    assert bound is not None
    assert found.gone == (LogRange(after=at(-8), until=at(-6)), LogRange(after=at(-5), until=bound))
    assert found.kept == (LogRange(after=bound, until=at(0)),)
    assert found.missing == (*found.gone, *found.kept)
    # Nothing is read there, so that an estimate leaves it out.
    assert found.ranges_to_read == found.kept


@pytest.mark.parametrize("since", [EARLIEST, at(-7)])
def test_a_stretch_below_all_spans_that_retention_took_was_never_begun(since: LogId) -> None:
    found = plan((span(-1, -0.5, -0.5),), since, at(0), oldest=at(-2))
    assert found.gone == ()


def test_a_stretch_below_the_range_that_retention_took_is_not_walked() -> None:
    found = plan((span(-9, -8, -8), span(-6, -5, -5)), at(-5.5), at(0), oldest=at(-2))
    assert found.gone == (LogRange(after=at(-5), until=predecessor(at(-2)) or at(-2)),)
    assert plan((span(-9, -8, -8),), at(-5.5), at(0), oldest=at(-2)).gone == ()


def test_a_stretch_that_retention_took_ends_at_the_beginning_of_the_live_span() -> None:
    found = plan((span(-9, -8, -8), span(-6, None, -3)), EARLIEST, at(0), oldest=at(-4))
    assert found.missing == (LogRange(after=at(-8), until=at(-6)),)


def test_beside_a_daemon_the_slices_of_its_catch_up_are_left_to_it() -> None:
    slices = [replace(span(begin, begin + 2, begin + 1), is_catch_up=True) for begin in (2, 4)]
    begun, done = span(0, 1, 0.5), replace(span(6, 7, 7), is_catch_up=True)
    found = plan([begun, *slices, done, span(8, None, 9)], at(0), at(20), oldest=at(-500))
    assert found.unfinished == (begun, *slices)
    assert found.catching_up == ()
    beside = found.without_catch_up()
    assert beside.unfinished == (begun,)
    assert beside.catching_up == (
        LogRange(after=at(3), until=at(4)),
        LogRange(after=at(5), until=at(6)),
    )
    assert (
        beside.missing
        == found.missing
        == (
            LogRange(after=at(1), until=at(2)),
            LogRange(after=at(7), until=at(8)),
        )
    )


def test_a_plan_with_nothing_but_a_catch_up_is_empty_beside_a_daemon() -> None:
    slice_ = replace(span(2, 4, 3), is_catch_up=True)
    found = plan([slice_, span(4, None, 9)], at(2), at(20), oldest=at(-500))
    assert (found.is_empty, found.without_catch_up().is_empty) == (False, True)
