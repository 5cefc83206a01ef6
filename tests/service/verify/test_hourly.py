"""The settled log, counted again by hour. Only an hour that is there as a whole is judged."""

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from poller.core.count_names import FILTERED, FORWARDED
from poller.core.counts import TallyKey
from poller.core.errors import TransientError
from poller.core.log_ids import LogId, floor_id
from poller.core.spans import LogRange
from poller.service.verify.daily import Compared, Day, Verdict
from poller.service.verify.hourly import (
    HOUR,
    MARGIN,
    Mismatch,
    Recount,
    compare,
    count_again,
    hours_between,
    overruled,
    ranges_to_read,
)
from tests.fakes import LATER, NOW, STREAM, FakeLog, numbered

SECOND = timedelta(seconds=1)


def record(
    number: int, dated: datetime, *, lag: timedelta = 3 * SECOND, kind: str = "s"
) -> dict[str, Any]:
    return {"log_id": numbered(number, dated + lag), "date": dated.isoformat(), "type": kind}


def at(hours: float) -> LogId:
    return floor_id(NOW + hours * HOUR)


def tallies(*records: dict[str, Any]) -> Counter[TallyKey]:
    """Return the counts that the ledger would have."""
    found = Counter[TallyKey]()
    for number, each in enumerate(records):
        hour = datetime.fromisoformat(each["date"]).replace(minute=0, second=0, microsecond=0)
        found[
            TallyKey(hour=hour, type=each["type"], outcome=FORWARDED if number % 2 else FILTERED)
        ] += 1
    return found


WHOLE = (LogRange(after=at(-5), until=at(10)),)
EVENTS = [record(number, NOW + number * timedelta(minutes=11)) for number in range(20)]


def recounted(
    log: FakeLog,
    known: Counter[TallyKey],
    *,
    settled: tuple[LogRange, ...] = WHOLE,
    oldest: LogId | None = None,
) -> Recount:
    since, until = NOW, NOW + 3 * HOUR
    counted = count_again(log, STREAM, ranges_to_read(settled, since, until), lambda page: None)
    hours = tuple(hours_between(since, until))
    return compare(known, counted, settled, hours=hours, oldest=oldest or at(-100))


def test_a_settled_log_agrees_to_the_event() -> None:
    found = recounted(FakeLog(EVENTS, page_size=3), tallies(*EVENTS))
    assert found.judged == (NOW, NOW + HOUR, NOW + 2 * HOUR)
    assert found.agreeing == set(found.judged)


@pytest.mark.parametrize(("by", "settled"), [(2, 7), (-2, 3)])
def test_the_hour_and_the_type_that_differ_are_named(by: int, settled: int) -> None:
    known = tallies(*EVENTS)
    known[TallyKey(hour=NOW + HOUR, type="s", outcome=FORWARDED)] += by
    found = recounted(FakeLog(EVENTS), known)
    assert found.mismatches == (Mismatch(hour=NOW + HOUR, type="s", settled=settled, logged=5),)
    assert found.agreeing == {NOW, NOW + 2 * HOUR}


def in_order(*records: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(records, key=lambda each: str(each["log_id"]))


def test_a_type_in_only_one_of_the_two_counts_differs() -> None:
    odd = record(99, NOW + HOUR / 2, kind="ss")
    (lost,) = recounted(FakeLog(in_order(*EVENTS, odd)), tallies(*EVENTS)).mismatches
    assert (lost.type, lost.settled, lost.logged) == ("ss", 0, 1)
    (more,) = recounted(FakeLog(EVENTS), tallies(*EVENTS, odd)).mismatches
    assert (more.type, more.settled, more.logged) == ("ss", 1, 0)


def test_an_event_goes_to_the_hour_of_its_date_on_both_edges_of_the_range() -> None:
    edges = [
        record(1, NOW - SECOND),
        record(2, NOW + 3 * HOUR - SECOND),
        record(3, NOW + 3 * HOUR - MARGIN / 2),
    ]
    late = record(4, NOW + 3 * HOUR - SECOND, lag=MARGIN / 2)
    ordered = sorted([*edges, late], key=lambda each: str(each["log_id"]))
    found = recounted(FakeLog(ordered), tallies(*ordered))
    assert (len(found.judged), found.mismatches) == (3, ())


def test_an_hour_that_is_not_settled_whole_is_not_judged() -> None:
    settled = (LogRange(after=at(-1), until=at(1)), LogRange(after=at(1.5), until=at(9)))
    found = recounted(FakeLog(EVENTS), Counter(), settled=settled)
    assert found.not_settled == (NOW + HOUR,)
    assert found.judged == (NOW, NOW + 2 * HOUR)


def test_hours_that_are_no_longer_kept_are_named_and_not_judged() -> None:
    log = FakeLog(EVENTS)
    oldest = EVENTS[3]["log_id"]
    log.floor = oldest
    found = recounted(log, tallies(*EVENTS), oldest=oldest)
    assert found.not_kept == (NOW,)
    assert found.mismatches == ()
    assert recounted(
        log, tallies(*EVENTS)
    ).mismatches  # else it would be taken for a loss of the log


def test_an_hour_without_its_margin_is_not_judged() -> None:
    log = FakeLog(EVENTS)
    assert recounted(log, tallies(*EVENTS), oldest=at(1)).not_kept == (NOW, NOW + HOUR)


def test_only_settled_ranges_are_read_and_reading_goes_on_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("poller.service.verify.hourly.retrying", _at_once)
    log = FakeLog(EVENTS, page_size=4)
    log.failures = [LATER]
    settled = (LogRange(after=at(0), until=at(1)), LogRange(after=at(2), until=at(9)))
    counted = count_again(log, STREAM, settled, lambda page: None)
    assert sum(counted.values()) == len(EVENTS) - sum(
        NOW + HOUR < _date(each) < NOW + 2 * HOUR for each in EVENTS
    )
    assert {span.until for span in log.asked} == {at(1), at(9)}
    assert log.asked[0].reached == log.asked[1].reached


def _at_once() -> Iterator[AbstractContextManager[None]]:
    """Make two attempts without a wait between them."""
    yield from (suppress(TransientError), suppress(TransientError))


def _date(each: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(each["date"])


def test_the_hours_overrule_the_statistics_of_a_day() -> None:
    none = Compared(least=0, most=0, auth0=50)
    begin = NOW.replace(hour=0)
    day = Day(day=NOW.date(), verdict=Verdict.DIFFERS, logins=none, signups=none, dead_letters=0)
    hours = tuple(begin + number * HOUR for number in range(24))
    all_agree = Recount(judged=hours, not_kept=(), not_settled=(), mismatches=())
    assert overruled(day, all_agree).verdict is Verdict.AGREES
    assert overruled(day, replace(all_agree, judged=hours[1:])).verdict is Verdict.DIFFERS
    mismatch = Mismatch(hour=hours[3], type="s", settled=1, logged=2)
    agreeing = replace(day, verdict=Verdict.AGREES)
    assert (
        overruled(agreeing, replace(all_agree, mismatches=(mismatch,))).verdict is Verdict.DIFFERS
    )
    partly = replace(day, verdict=Verdict.PARTLY_SETTLED)
    assert overruled(partly, all_agree).verdict is Verdict.PARTLY_SETTLED
