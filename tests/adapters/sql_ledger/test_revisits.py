"""Stretches that are read again: gaps that came back, and events that are sent again on purpose."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.core.count_names import DEAD_LETTERED, FORWARDED
from poller.core.errors import ConflictError
from poller.core.log_ids import LogId
from poller.core.outcomes import DeadLetter
from poller.core.pages import Page
from poller.core.spans import Gap, ReopenedGap, Resend, SecondReading, Span
from tests.builders import page, settlement
from tests.fakes import NOW, STREAM, numbered


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    made = SqlLedger.open(f"sqlite:///{path}", STREAM, create=True)
    yield made
    made.close()


def totals(path: Path) -> dict[str, int]:
    reader = LedgerReader.open(f"sqlite:///{path}")
    try:
        return reader.totals(STREAM)
    finally:
        reader.close()


def settled(ledger: SqlLedger, *numbers: int) -> Span:
    """Return a live span that has settled these events."""
    return ledger.settle(settlement(ledger.begin(after=numbered(0)), page(*numbers)))


def with_gap(ledger: SqlLedger, after: int, before: int) -> Gap:
    """Return a live span that has settled the events above the gap."""
    lost = Gap(after=numbered(after), before=numbered(before))
    read = replace(page(before), lost=lost)
    ledger.settle(settlement(ledger.begin(after=numbered(after)), read))
    assert ledger.gaps() == (lost,)
    return lost


def test_a_resend_counts_no_event_again_and_its_row_is_removed_at_its_end(
    ledger: SqlLedger, path: Path
) -> None:
    live = settled(ledger, 1, 2, 3)
    (again,) = ledger.begin_resends([(numbered(0), numbered(3))])
    before = totals(path)
    half = ledger.settle(settlement(again, page(1, 2)))
    assert ledger.begin_work(again) == half
    assert (half.reached, half.is_done, ledger.revisits()) == (numbered(2), False, (half,))
    done = ledger.settle(settlement(half, page(3)))
    assert (done.is_done, ledger.revisits(), ledger.begin_work(again)) == (True, (), None)
    assert totals(path) == before
    assert ledger.spans() == (live,)


def test_a_page_of_a_resend_is_settled_once(ledger: SqlLedger) -> None:
    settled(ledger, 1, 2, 3)
    (again,) = ledger.begin_resends([(numbered(0), numbered(3))])
    ledger.settle(settlement(again, page(1, 2)))
    with pytest.raises(ConflictError):
        ledger.settle(settlement(again, page(1, 2)))
    with pytest.raises(ConflictError):
        ledger.settle(settlement(again, page(4)))


def test_a_dead_letter_that_segment_takes_in_a_resend_is_removed(
    ledger: SqlLedger, path: Path
) -> None:
    live = ledger.begin(after=numbered(0))
    refused = settlement(live, page(1, 2))
    letter = DeadLetter(event=refused.forwarded[1], reason="refused_by_segment", status=400)
    ledger.settle(replace(refused, forwarded=refused.forwarded[:1], dead_letters=(letter,)))
    assert (totals(path)[FORWARDED], totals(path)[DEAD_LETTERED]) == (1, 1)
    (again,) = ledger.begin_resends([(numbered(0), numbered(2))])
    ledger.settle(settlement(again, page(1, 2)))
    assert (totals(path)[FORWARDED], totals(path)[DEAD_LETTERED]) == (2, 0)
    reader = LedgerReader.open(f"sqlite:///{path}")
    assert reader.dead_letters_by_reason(STREAM) == {}
    reader.close()


def test_a_resend_records_no_gap_because_its_events_were_settled(ledger: SqlLedger) -> None:
    settled(ledger, 1, 2, 3)
    (again,) = ledger.begin_resends([(numbered(0), numbered(3))])
    lost = Gap(after=numbered(0), before=numbered(3))
    ledger.settle(settlement(again, replace(page(3), lost=lost)))
    assert ledger.gaps() == ()


@pytest.mark.parametrize(
    ("oldest", "after", "rest"),
    [(14, 13, Gap(after=numbered(10), before=numbered(14))), (10, 10, None), (3, 10, None)],
)
def test_a_gap_shrinks_as_it_is_read_and_what_is_read_counts(
    ledger: SqlLedger, path: Path, oldest: int, after: int, rest: Gap | None
) -> None:
    gap = with_gap(ledger, 10, 20)
    before = totals(path)[FORWARDED]
    found = ledger.reopen_gap(gap, numbered(oldest))
    assert isinstance(found, ReopenedGap)
    assert (found.after, found.until) == (numbered(after), numbered(19))
    # Until it is read it is lost, for all that anybody knows.
    assert ledger.gaps() == (gap,)
    assert ledger.revisits() == (found,)
    half = ledger.settle(settlement(found, page(15)))
    left = Gap(after=numbered(15), before=numbered(20))
    assert ledger.gaps() == ((left,) if rest is None else (rest, left))
    ledger.settle(settlement(half, page(19)))
    assert ledger.revisits() == ()
    assert ledger.gaps() == (() if rest is None else (rest,))
    assert totals(path)[FORWARDED] == before + 2


def test_the_part_of_a_reopened_gap_that_retention_took_stays_a_gap(ledger: SqlLedger) -> None:
    found = ledger.reopen_gap(with_gap(ledger, 10, 20), numbered(14))
    lost = Gap(after=numbered(13), before=numbered(17))
    ledger.settle(settlement(found, replace(page(17, 19), lost=lost)))
    assert ledger.gaps() == (Gap(after=numbered(10), before=numbered(14)), lost)


def test_events_that_the_log_shows_again_at_the_position_of_a_gap_are_no_gap(
    ledger: SqlLedger,
) -> None:
    live = ledger.begin(after=numbered(10))
    gap = Gap(after=numbered(10), before=numbered(20))
    live = ledger.settle(settlement(live, replace(page(position=10), lost=gap)))
    assert ledger.gaps() == (gap,)
    smaller = Gap(after=numbered(10), before=numbered(14))
    live = ledger.settle(settlement(live, replace(page(14, 16), lost=smaller)))
    rest = Gap(after=numbered(16), before=numbered(20))
    assert ledger.gaps() == (smaller, rest)
    ledger.settle(settlement(live, page(17)))
    assert ledger.gaps() == (smaller, Gap(after=numbered(17), before=numbered(20)))


def test_a_refusal_when_it_is_sent_again_is_counted_as_what_it_is(
    ledger: SqlLedger, path: Path
) -> None:
    settled(ledger, 1, 2)
    (again,) = ledger.begin_resends([(numbered(0), numbered(2))])
    refused = settlement(again, page(1, 2))
    letter = DeadLetter(event=refused.forwarded[1], reason="refused_by_segment", status=400)
    ledger.settle(replace(refused, forwarded=refused.forwarded[:1], dead_letters=(letter,)))
    assert (totals(path)[FORWARDED], totals(path)[DEAD_LETTERED]) == (1, 1)


def test_a_resend_is_cut_like_a_span(ledger: SqlLedger) -> None:
    settled(ledger, 1, 2, 3, 9)
    (again,) = ledger.begin_resends([(numbered(0), numbered(9))])
    near, far = ledger.cut(again, numbered(5))
    assert ledger.revisits() == (near, far)
    assert isinstance(far, Resend)
    assert (near.until, far.after, far.until) == (numbered(5), numbered(5), numbered(9))
    with pytest.raises(ConflictError):
        ledger.cut(again, numbered(4))


def test_a_resend_leaves_the_spans_alone(ledger: SqlLedger) -> None:
    live = settled(ledger, 1, 2, 3)
    (again,) = ledger.begin_resends([(numbered(0), numbered(3))])
    assert again.id == live.id  # ids of two tables: nothing may tell them apart by id alone
    assert ledger.spans() == (live,)
    moved = ledger.settle(settlement(live, page(4)))
    assert ledger.begin_work(again) == again
    assert ledger.begin_work(live) == moved
    empty = Page(events=(), position=LogId(numbered(3)), is_end=True, served_at=NOW)
    ledger.settle(settlement(again, empty))
    assert ledger.spans() == (moved,)


# Beside the second reading


def second_reading(ledger: SqlLedger) -> SecondReading:
    live = ledger.live_span()
    assert live is not None
    return live.second_reading(live.reached)


def test_a_second_reading_leaves_a_gap_to_a_backfill(ledger: SqlLedger) -> None:
    """The tenant keeps its log for longer now, so that the gap can be read again."""
    with_gap(ledger, 10, 20)
    asked = [numbered(number) for number in (11, 15, 19, 20)]
    assert ledger.not_settled(second_reading(ledger), asked) == frozenset()


def test_a_second_reading_takes_late_arrivals_beside_a_gap_that_was_read_once(
    ledger: SqlLedger,
) -> None:
    live = settled(ledger, 10, 20)
    lost = Gap(after=numbered(0), before=numbered(9), is_read_once=True)
    second = live.second_reading(live.reached)
    ledger.settle(settlement(second, replace(page(9, position=9), lost=lost)))
    late = [numbered(5), numbered(15)]
    assert ledger.not_settled(replace(second, reached=numbered(0)), late) == set(late)


def test_an_event_of_a_gap_above_confirmed_is_no_late_arrival(ledger: SqlLedger) -> None:
    reopened = ledger.reopen_gap(with_gap(ledger, 10, 20), numbered(5))
    ledger.settle(settlement(reopened, page(12, 15)))
    for _ in range(2):
        asked = [numbered(number) for number in (11, 12, 15)]
        assert ledger.not_settled(second_reading(ledger), asked) == {numbered(11)}
        ledger.forget_ids()
    ledger.stop_second_readings()


@pytest.mark.sqlite
def test_a_new_row_with_the_id_of_a_deleted_one_is_another_slice(ledger: SqlLedger) -> None:
    ledger.begin(after=numbered(20))
    finished = ledger.begin(after=numbered(10), until=numbered(20))
    ledger.settle(settlement(finished, page(15, position=20)))
    other = ledger.begin(after=numbered(0), until=numbered(5))
    assert (other.id, ledger.begin_work(other)) == (finished.id, other)
    assert ledger.begin_work(finished) is None
