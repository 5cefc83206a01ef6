"""The plan of a backfill in words, and in the ledger: a settled range is not a lost one."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import acquire_lock
from poller.cli.backfill_plan import (
    BackfillOptions,
    PlannedBackfill,
    begin,
    leave_end_open,
    survey,
)
from poller.cli.views.backfill import PlanReport
from poller.cli.wiring.backfill import BackfillParts
from poller.core.delivery import BatchSender
from poller.core.forward import Forwarded, forward
from poller.core.log_ids import LogId, floor_id
from poller.core.pages import Page
from poller.core.spans import LogCursor, LogRange, holes_between
from poller.core.translation.translator import HistoryTranslator
from poller.service.backfill.plan import Plan
from tests.builders import record, settlement
from tests.fakes import NOW, STREAM, FakeDirectory, FakeLog, FakeSink, numbered

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
    return report(ledger, options).nothing_to_do


def report(ledger: SqlLedger, options: BackfillOptions) -> PlanReport:
    settings: Any = SimpleNamespace(poll=SimpleNamespace(late_window=timedelta(minutes=10)))
    services: Any = SimpleNamespace(
        tokens=SimpleNamespace(current=lambda: "token"),
        log=SimpleNamespace(oldest_kept=lambda: (SINCE, NOW)),
    )
    return survey(settings, ledger, services, options).report()


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


# Beside a catch-up


@pytest.fixture
def catching_up(ledger: SqlLedger) -> SqlLedger:
    """A ledger with a catch-up of four hours, in two slices, that ended a minute before `NOW`."""
    begin, middle, end = (
        floor_id(NOW - timedelta(minutes=minutes)) for minutes in (4 * 60, 2 * 60, 1)
    )
    ledger.begin_catch_up(ledger.begin(after=begin), present=end, ends=[middle])
    return ledger


def test_beside_a_daemon_the_plan_names_the_catch_up_and_leaves_it(
    catching_up: SqlLedger, tmp_path: Path
) -> None:
    with acquire_lock(f"sqlite:///{tmp_path / 'ledger.db'}", "run"):
        found = report(catching_up, BackfillOptions(since=timedelta(hours=4), parallel=1))
    line = (
        "daemon      2026-11-20T08:00:00.000Z to 2026-11-20T11:59:00.000Z: "
        "the daemon is catching up this part"
    )
    assert line in found.lines()
    assert found.nothing_to_do == DAEMON


def parts_of(ledger: SqlLedger) -> BackfillParts:
    none: Any = None
    return BackfillParts(settings=none, services=none, ledger=ledger)


def pages_of(ledger: SqlLedger, span: LogCursor) -> Iterator[Forwarded]:
    records = [
        record(number) | {"log_id": numbered(number, NOW - timedelta(hours=3))}
        for number in range(1, 10)
    ]
    translator, sender = HistoryTranslator(STREAM), BatchSender(FakeSink())
    log = FakeLog(records, page_size=3)
    return forward(log, FakeDirectory({}), translator, sender, ledger, span)


def test_a_backfill_walks_a_catch_up_until_a_daemon_starts(
    catching_up: SqlLedger, tmp_path: Path
) -> None:
    span = catching_up.backlog()[0]
    parts = parts_of(catching_up)
    pages = parts.until_daemon_takes_over(span, pages_of(catching_up, span))
    assert next(pages).cursor.reached == numbered(3, NOW - timedelta(hours=3))
    with acquire_lock(f"sqlite:///{tmp_path / 'ledger.db'}", "run"):
        assert next(pages, None) is None
        reached = catching_up.backlog()[0].reached
        assert reached == numbered(3, NOW - timedelta(hours=3))


def test_a_backfill_walks_its_own_slices_beside_a_daemon(ledger: SqlLedger, tmp_path: Path) -> None:
    span = ledger.begin(after=SINCE, until=UNTIL)
    with acquire_lock(f"sqlite:///{tmp_path / 'ledger.db'}", "run"):
        pages = list(parts_of(ledger).until_daemon_takes_over(span, pages_of(ledger, span)))
    assert pages[-1].cursor.is_done


def test_a_catch_up_that_began_since_the_plan_was_made_leaves_no_hole(ledger: SqlLedger) -> None:
    live = ledger.begin(after=UNTIL)
    plan = Plan(since=SINCE, until=UNTIL, missing=SETTLED)
    ledger.begin_catch_up(live, present=floor_id(NOW + timedelta(minutes=9)), ends=())
    begun = begin(ledger, plan, 2, is_open=True)
    assert [each.until for each in begun][-1] == UNTIL
    assert not holes_between(ledger.spans())


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
