"""The plan of a backfill in words, and in the ledger: a settled range is not a lost one."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.cli.backfill_plan import (
    BackfillOptions,
    PlannedBackfill,
    begin,
    leave_end_open,
    survey,
)
from poller.core.log_ids import LogId, floor_id
from poller.core.pages import Page
from poller.core.spans import LogRange, holes_between
from poller.service.backfill.plan import Plan
from tests.builders import settlement
from tests.fakes import NOW, STREAM

SINCE, UNTIL = floor_id(NOW - timedelta(days=1)), floor_id(NOW)
SETTLED = (LogRange(after=SINCE, until=UNTIL),)


@pytest.mark.parametrize(
    ("settled", "is_oldest_settled", "said"),
    [
        ((), False, "Auth0 no longer keeps any event of the range"),
        (SETTLED, False, "is settled"),
        ((), True, "is settled"),
    ],
)
def test_a_settled_range_is_not_called_lost(
    settled: tuple[LogRange, ...], is_oldest_settled: bool, said: str
) -> None:
    plan = Plan(since=UNTIL, until=UNTIL, settled=settled, oldest=UNTIL, is_cut_off=True)
    planned = PlannedBackfill(
        plan=plan,
        estimate=None,
        parallel=1,
        awaiting=0,
        begun_at=NOW,
        is_oldest_settled=is_oldest_settled,
    )
    assert planned.report().lines()[-1].endswith(said)
    assert planned.is_range_lost == (said == "Auth0 no longer keeps any event of the range")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    opened = SqlLedger.open(f"sqlite:///{tmp_path / 'ledger.db'}", STREAM, create=True)
    yield opened
    opened.close()


# A range of the daemon


DAEMON = "the range belongs to the daemon, which sends it"


def reason(ledger: SqlLedger, options: BackfillOptions) -> str:
    """Return the reason why a backfill at `NOW` has nothing to do."""
    settings: Any = SimpleNamespace(poll=SimpleNamespace(late_window=timedelta(minutes=10)))
    services: Any = SimpleNamespace(
        tokens=SimpleNamespace(current=lambda: "token"),
        log=SimpleNamespace(oldest_kept=lambda: (SINCE, NOW)),
    )
    return survey(settings, ledger, services, options).report().nothing_to_do


@pytest.mark.parametrize("until", [None, floor_id(NOW - timedelta(hours=1))])
@pytest.mark.parametrize(
    ("reached", "drained_to", "said"),
    [
        (NOW, None, "every event of the range is settled"),
        (NOW - timedelta(hours=6), NOW, "every event of the range is settled"),
        (NOW - timedelta(hours=2), None, f"the rest of {DAEMON}"),
        (NOW - timedelta(hours=6), None, DAEMON),
    ],
)
def test_a_range_of_the_daemon_is_called_settled_as_far_as_the_daemon_has_come(
    ledger: SqlLedger,
    until: LogId | None,
    reached: datetime,
    drained_to: datetime | None,
    said: str,
) -> None:
    live = ledger.begin(after=floor_id(NOW - timedelta(hours=8)))
    page = Page(
        events=(),
        position=floor_id(reached),
        is_end=drained_to is not None,
        served_at=NOW,
        believed_at=NOW,
        drained_to=drained_to,
    )
    ledger.settle(settlement(live, page))
    options = BackfillOptions(since=timedelta(hours=3), until=until, parallel=1)
    assert reason(ledger, options) == said


def test_a_range_within_the_late_window_is_left_to_the_daemon_if_there_is_one(
    ledger: SqlLedger,
) -> None:
    options = BackfillOptions(since=timedelta(minutes=5), parallel=1)
    assert "younger than poll.late_window" in reason(ledger, options)
    ledger.begin(after=floor_id(NOW - timedelta(hours=8)))
    assert reason(ledger, options) == DAEMON


# The end of a backfill without --until


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
