"""`verify --segment` over a day with kills, lost answers and a backfill beside the daemon."""

from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from poller.sandbox.segment.plan import track_rule
from poller.service.verify.received import SourceComparison, SourceVerdict
from tests.service.verify.segment_day import HOUR, KEY, MIDNIGHT, OTHER_KEY, Day

SIZES = [pytest.param(2_000), pytest.param(50_000, marks=pytest.mark.soak)]
WAYS = [
    {"counts_repeats": repeats, "has_filtered": filtered}
    for repeats, filtered in product([True, False], repeat=2)
]
NO_TRACE = "dropped"
"""The fate of a message under another key, which the source never sees."""


def named(compared: SourceComparison) -> Counter[tuple[int, str, str]]:
    """Return what the comparison says is lost, by hour, event and reason."""
    found: Counter[tuple[int, str, str]] = Counter()
    for row in compared.differences:
        hour, event = (row.hour - MIDNIGHT) // HOUR, row.event or row.kind
        found.update({(hour, event, reason): number for reason, number in row.lost.items()})
        found[hour, event, NO_TRACE] += row.missing
    return +found


def is_named(lost: Counter[tuple[int, str, str]], found: Counter[tuple[int, str, str]]) -> bool:
    """Return whether the two are equal, but that an answer at an edge may be in the next hour."""
    sums: list[Counter[tuple[str, str]]] = [Counter(), Counter()]
    for counted, by_hour in zip(sums, (lost, found), strict=True):
        for (_, event, reason), number in by_hour.items():
            counted[event, reason] += number
    return sums[0] == sums[1] and all(
        any((hour + step, event, reason) in found for step in (0, 1))
        for hour, event, reason in lost
    )


@pytest.mark.parametrize("events", SIZES)
def test_a_day_with_kills_and_lost_answers_has_no_difference_by_any_way_of_counting(
    tmp_path: Path, events: int
) -> None:
    day = Day(tmp_path, events=events, faults=0.05)
    day.pass_hours(26)
    assert day.repeats() > events / 50
    assert day.lost() == {}
    for way in WAYS:
        compared = day.compared(**way)
        assert named(compared) == {}, way
        acknowledged = sum(row.acknowledged for row in compared.rows)
        assert acknowledged + sum(sum(row.apart.values()) for row in compared.rows) >= 2 * events
    assert any(row.verdict is SourceVerdict.MORE for row in day.compared(**WAYS[0]).rows)
    day.ledger.close()


@pytest.mark.parametrize("events", SIZES)
def test_every_dropped_message_is_named_with_its_hour_event_and_reason(
    tmp_path: Path, events: int
) -> None:
    day = Day(tmp_path, events=events, faults=0.0)
    source = day.collector.source
    day.pass_hours(3)
    source.is_enabled = False
    day.pass_hours(1)
    source.is_enabled = True
    day.pass_hours(2)
    source.disabled_events = {"Signed Up"}
    day.pass_hours(1)
    source.disabled_events = set()
    day.pass_hours(2)
    source.plan.rules = [track_rule("Logged In", connection={"enum": ["db-1", "db-2"]})]
    source.plan.controls["track"]["allowEventOnViolations"] = False
    day.pass_hours(1)
    source.plan.rules = []
    day.pass_hours(2)
    day.collector.failures = {f"auth0|{number}": "multi_user_error" for number in range(10**6)}
    day.pass_hours(1)
    day.collector.failures = {}
    day.pass_hours(2)
    day.sink.key = OTHER_KEY
    day.pass_hours(2)
    day.sink.key = KEY
    day.pass_hours(9)
    lost = day.lost()
    assert {reason for _, _, reason in lost} == {
        "source_disabled",
        "event_setting",
        "schema_violation",
        "multi_user_error",
        NO_TRACE,
    }
    for way in WAYS:
        assert is_named(lost, named(day.compared(**way))), way
    day.ledger.close()


@pytest.mark.parametrize("events", SIZES)
def test_losses_are_named_among_kills_and_lost_answers_too(tmp_path: Path, events: int) -> None:
    day = Day(tmp_path, events=events, faults=0.02)
    day.pass_hours(5)
    day.collector.source.is_enabled = False
    day.pass_hours(1)
    day.collector.source.is_enabled = True
    day.pass_hours(5)
    day.sink.key = OTHER_KEY
    day.pass_hours(2)
    day.sink.key = KEY
    day.pass_hours(13)
    lost = Counter[str]()
    for (_, _, reason), number in day.lost().items():
        lost[reason] += number
    for way in WAYS:
        found = Counter[str]()
        for (_, _, reason), number in named(day.compared(**way)).items():
            found[reason] += number
        # A repeated message makes a surplus, which may hide as many. It may also be dropped after
        # it arrived.
        for reason, number in lost.items():
            assert abs(found[reason] - number) <= day.repeats(), (reason, way)
            assert found[reason] > number / 2, (reason, way)
    day.ledger.close()
