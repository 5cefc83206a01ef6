"""The plan of a backfill in words: a settled range is not a lost one."""

from datetime import timedelta

import pytest

from poller.cli.survey import Survey
from poller.core.events import floor_id
from poller.service.backfill.plan import Plan, Stretch
from tests.fakes import NOW

SINCE, UNTIL = floor_id(NOW - timedelta(days=1)), floor_id(NOW)
SETTLED = (Stretch(after=SINCE, until=UNTIL),)


@pytest.mark.parametrize(
    ("settled", "is_oldest_settled", "said"),
    [((), False, "kept any more"), (SETTLED, False, "is settled"), ((), True, "is settled")],
)
def test_a_range_that_is_settled_is_not_called_gone(
    settled: tuple[Stretch, ...], is_oldest_settled: bool, said: str
) -> None:
    plan = Plan(since=UNTIL, until=UNTIL, settled=settled, oldest=UNTIL, is_cut_off=True)
    found = Survey(plan=plan, estimate=None, parallel=1, awaiting=0, begun_at=NOW, is_oldest_settled=is_oldest_settled)
    assert found.text().endswith(said)
    assert found.is_gone == (said == "kept any more")
