"""The plan of a backfill in words, and in the ledger: a settled range is not a lost one."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.cli.backfill_plan import BackfillPreview, begin, leave_end_open
from poller.core.log_ids import floor_id
from poller.core.spans import LogRange, holes_between
from poller.service.backfill.plan import Plan
from tests.fakes import NOW, STREAM

SINCE, UNTIL = floor_id(NOW - timedelta(days=1)), floor_id(NOW)
SETTLED = (LogRange(after=SINCE, until=UNTIL),)


@pytest.mark.parametrize(
    ("settled", "is_oldest_settled", "said"),
    [((), False, "kept any more"), (SETTLED, False, "is settled"), ((), True, "is settled")],
)
def test_a_range_that_is_settled_is_not_called_gone(
    settled: tuple[LogRange, ...], is_oldest_settled: bool, said: str
) -> None:
    plan = Plan(since=UNTIL, until=UNTIL, settled=settled, oldest=UNTIL, is_cut_off=True)
    found = BackfillPreview(
        plan=plan,
        estimate=None,
        parallel=1,
        awaiting=0,
        begun_at=NOW,
        is_oldest_settled=is_oldest_settled,
    )
    assert found.report().lines()[-1].endswith(said)
    assert found.is_gone == (said == "kept any more")


def test_a_range_that_is_too_young_is_not_called_settled() -> None:
    plan = Plan(since=UNTIL, until=UNTIL, oldest=SINCE)
    preview = BackfillPreview(plan=plan, estimate=None, parallel=1, awaiting=0, begun_at=NOW)
    last = preview.report().lines()[-1]
    assert "is settled" not in last
    assert "younger than poll.late_window" in last


# The end of a backfill without --until


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    opened = SqlLedger.open(f"sqlite:///{tmp_path / 'ledger.db'}", STREAM, create=True)
    yield opened
    opened.close()


def test_a_backfill_that_finds_nothing_to_do_leaves_its_end_open_too(ledger: SqlLedger) -> None:
    leave_end_open(ledger, Plan(since=SINCE, until=SINCE))
    assert ledger.backfilled_until() == SINCE
    # A later one that does nothing leaves the end where more was promised.
    leave_end_open(ledger, Plan(since=UNTIL, until=UNTIL))
    assert ledger.backfilled_until() == SINCE


def test_a_daemon_that_started_since_the_plan_was_made_leaves_no_hole(ledger: SqlLedger) -> None:
    plan = Plan(since=SINCE, until=UNTIL, missing=SETTLED)
    start = floor_id(NOW + timedelta(minutes=10))
    ledger.begin(after=start)
    begun = begin(ledger, plan, 2, is_open=True)
    assert begun[-1].until == start
    assert not holes_between(ledger.spans())


def test_a_backfill_with_an_end_goes_up_to_it_only(ledger: SqlLedger) -> None:
    ledger.begin(after=floor_id(NOW + timedelta(minutes=10)))
    begun = begin(ledger, Plan(since=SINCE, until=UNTIL, missing=SETTLED), 2, is_open=False)
    assert begun[-1].until == UNTIL
