"""A position moved by hand keeps what was settled, and never reaches into another span."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.set_position import set_position
from poller.core.errors import ConflictError, FatalError
from poller.core.log_ids import EARLIEST, LogId, successor
from poller.core.spans import Gap, LogRange, Span, holes_between
from poller.service.backfill.plan import plan
from tests.builders import page, settlement
from tests.fakes import STREAM, numbered

Shape = list[tuple[int, int, int | None]]
Pair = tuple[LogId, LogId | None]


def number(log_id: LogId) -> int:
    return 0 if log_id == EARLIEST else int(log_id[-10:])


@pytest.fixture
def moved(tmp_path: Path) -> Callable[[int], Shape]:
    """Move the position of a live span (30, 50] above a slice (10, 20], and return the spans."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = SqlLedger.open(url, STREAM, create=True)
    ledger.begin(after=numbered(10), until=numbered(20))
    live = ledger.settle(settlement(ledger.begin(after=numbered(30)), page(40, 50)))
    assert live.reached == numbered(50)
    ledger.close()

    def move(position: int) -> Shape:
        span = set_position(url, STREAM, numbered(position))
        assert span.is_live
        assert span.reached == numbered(position)
        again = SqlLedger.open(url, STREAM, create=False)
        try:
            return [shape(found) for found in again.spans()]
        finally:
            again.close()

    return move


def shape(span: Span) -> tuple[int, int, int | None]:
    return (
        number(span.after),
        number(span.reached),
        None if span.until is None else number(span.until),
    )


@pytest.mark.parametrize(
    ("position", "spans"),
    [
        (70, [(10, 10, 20), (30, 50, 50), (70, 70, None)]),
        (50, [(10, 10, 20), (30, 50, None)]),
        (45, [(10, 10, 20), (30, 45, None)]),
        (30, [(10, 10, 20), (30, 30, None)]),
        (25, [(10, 10, 20), (25, 25, None)]),
        (20, [(10, 10, 20), (20, 20, None)]),
    ],
)
def test_the_settled_part_below_the_new_position_becomes_a_span_of_its_own(
    moved: Callable[[int], Shape], position: int, spans: Shape
) -> None:
    assert moved(position) == spans


def test_moving_back_forgets_what_is_known_of_the_log_above(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = SqlLedger.open(url, STREAM, create=True)
    with closing(ledger):
        live = ledger.begin(after=numbered(30))
        lost = Gap(after=numbered(30), before=numbered(40))
        live = ledger.settle(settlement(live, replace(page(40, 50), lost=lost)))
        later = Gap(after=numbered(50), before=numbered(60))
        ledger.settle(settlement(live, replace(page(60, 70), lost=later)))
        ledger.begin_resends([(numbered(35), numbered(65)), (numbered(60), numbered(70))])
    set_position(url, STREAM, numbered(65))
    assert known_of(url) == (
        [numbered(40), numbered(50), numbered(60)],
        [(numbered(30), numbered(65))],
        [(numbered(30), numbered(40)), (numbered(50), numbered(60))],
        [(numbered(35), numbered(65)), (numbered(60), numbered(65))],
    )
    set_position(url, STREAM, numbered(55))
    assert known_of(url) == (
        [numbered(40), numbered(50)],
        [(numbered(30), numbered(55))],
        [(numbered(30), numbered(40)), (numbered(50), successor(numbered(55)))],
        [(numbered(35), numbered(55))],
    )
    set_position(url, STREAM, numbered(30))
    assert known_of(url) == ([], [], [], [])


def known_of(url: str) -> tuple[list[str], list[Pair], list[Pair], list[Pair]]:
    """Return the recent ids, the unread stretches, the gaps and the revisits."""
    with closing(SqlLedger.open(url, STREAM, create=False)) as ledger:
        with ledger._database.reading() as connection:
            ids = (
                connection.exec_driver_sql("SELECT log_id FROM recent_id ORDER BY 1")
                .scalars()
                .all()
            )
        return (
            list(ids),
            [(each.reached, each.until) for each in ledger.unread_stretches()],
            [(gap.after, gap.before) for gap in ledger.gaps()],
            [(each.reached, each.until) for each in ledger.revisits()],
        )


def test_a_position_within_another_span_is_refused_and_nothing_changes(
    moved: Callable[[int], Shape],
) -> None:
    for position in (5, 15, 19):
        with pytest.raises(FatalError, match="lies below the end"):
            moved(position)
    assert moved(70)[1] == (30, 50, 50)


# Beside a catch-up


@pytest.fixture
def catching_up(tmp_path: Path) -> str:
    """A ledger with the slices (0, 5 of 20] and (20, 24 of 30], and a live span from 30 to 35."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with closing(SqlLedger.open(url, STREAM, create=True)) as ledger:
        live = ledger.settle(settlement(ledger.begin(after=numbered(0)), page(1, 5)))
        assert isinstance(live, Span)
        live = ledger.begin_catch_up(live, present=numbered(30), ends=[numbered(20)])
        ledger.settle(settlement(live, page(35)))
        ledger.settle(settlement(ledger.backlog()[1], page(24)))
    return url


@pytest.mark.parametrize(
    ("position", "spans", "unread"),
    [
        (40, [(0, 5, 20), (20, 24, 30), (30, 35, 35), (40, 40, None)], [(0, 5), (30, 35)]),
        (32, [(0, 5, 20), (20, 24, 30), (30, 32, None)], [(0, 5), (30, 32)]),
        (25, [(0, 5, 20), (20, 24, 25), (25, 25, None)], [(0, 5)]),
        (22, [(0, 5, 20), (20, 22, None)], [(0, 5), (20, 22)]),
        (20, [(0, 5, 20), (20, 20, None)], [(0, 5)]),
        (10, [(0, 5, 10), (10, 10, None)], [(0, 5)]),
        (5, [(0, 5, None)], [(0, 5)]),
        (3, [(0, 3, None)], [(0, 3)]),
        (0, [(0, 0, None)], []),
    ],
)
def test_slices_of_a_catch_up_keep_what_lies_below_the_position(
    catching_up: str, position: int, spans: Shape, unread: list[tuple[int, int]]
) -> None:
    set_position(catching_up, STREAM, numbered(position))
    with closing(SqlLedger.open(catching_up, STREAM, create=False)) as ledger:
        found, stretches = ledger.spans(), ledger.unread_stretches()
    assert [shape(span) for span in found] == spans
    assert all(span.is_catch_up for span in found if span.until and span.until != numbered(35))
    assert [(number(each.reached), number(each.until or EARLIEST)) for each in stretches] == unread


def test_the_worker_of_a_slice_that_was_cut_off_conflicts(catching_up: str) -> None:
    with closing(SqlLedger.open(catching_up, STREAM, create=False)) as ledger:
        _, upper = ledger.backlog()
        set_position(catching_up, STREAM, numbered(22))
        assert ledger.begin_work(upper) is None
        with pytest.raises(ConflictError):
            ledger.settle(settlement(upper, page(26)))


# Below the lowest span


def test_a_part_that_was_skipped_below_all_spans_is_a_hole(tmp_path: Path) -> None:
    """The live span settled nothing, so that nothing of it is left when the position moves."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with closing(SqlLedger.open(url, STREAM, create=True)) as ledger:
        ledger.begin(after=numbered(10))
    set_position(url, STREAM, numbered(40))
    with closing(LedgerReader.open(url)) as reader:
        record = reader.record(STREAM)
    hole = LogRange(after=numbered(10), until=numbered(40))
    assert holes_between(record.spans, since=record.begun_after) == (hole,)
    found = plan(
        record.spans,
        EARLIEST,
        numbered(50),
        oldest=numbered(20),
        begun_after=record.begun_after,
    )
    assert [each.until for each in found.missing] == [numbered(19), numbered(40)]
    assert found.gone == (LogRange(after=numbered(10), until=numbered(19)),)


def test_a_position_moved_down_is_the_beginning_of_the_stream(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with closing(SqlLedger.open(url, STREAM, create=True)) as ledger:
        assert ledger.begun_after() is None
        ledger.begin(after=numbered(10))
        assert ledger.begun_after() == numbered(10)
        set_position(url, STREAM, numbered(5))
        assert ledger.begun_after() == numbered(5)
        ledger.note_beginning(numbered(7))
        assert ledger.begun_after() == numbered(5)
