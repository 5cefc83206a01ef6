"""A position moved by hand keeps what was settled, and never reaches into another span."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.set_position import set_position
from poller.core.errors import FatalError
from poller.core.log_ids import EARLIEST, LogId, successor
from poller.core.spans import Gap, Span
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
