"""The verdict on a day, by the settled events and by Auth0's count."""

from collections import Counter
from datetime import date, datetime, timedelta

import pytest

from poller.core.count_names import DEAD_LETTERED, FILTERED, FORWARDED
from poller.core.counts import SentKey, TallyKey
from poller.core.events import DailyCount
from poller.core.log_ids import LogId, floor_id
from poller.core.spans import LogRange
from poller.service.verify.daily import (
    Compared,
    Day,
    Verdict,
    beginning_of,
    days_between,
    judge_days,
)

DAY = date(2026, 11, 10)
BEGIN = beginning_of(DAY)
LATER = BEGIN + timedelta(days=5)
LONG_AGO, FAR = floor_id(BEGIN - timedelta(days=9)), floor_id(BEGIN + timedelta(days=9))
WHOLE = (LogRange(after=LONG_AGO, until=FAR),)


def judged(
    tallies: dict[tuple[str, str], int],
    auth0: DailyCount | None = None,
    *,
    settled: tuple[LogRange, ...] = WHOLE,
    now: datetime = LATER,
) -> Day:
    counted = {
        TallyKey(hour=BEGIN + timedelta(hours=8), type=kind, outcome=outcome): events
        for (kind, outcome), events in tallies.items()
    }
    # The neighbours are another day's.
    noise = {TallyKey(hour=BEGIN - timedelta(hours=1), type="s", outcome=FORWARDED): 500}
    (day,) = judge_days(
        counted | noise, {} if auth0 is None else {DAY: auth0}, settled, [DAY], now=now
    )
    return day


def logins(count: int) -> dict[tuple[str, str], int]:
    return {("s", FORWARDED): count}


@pytest.mark.parametrize(
    ("settled", "auth0", "verdict", "excess"),
    [
        (100, 100, Verdict.AGREES, 0),
        (95, 100, Verdict.AGREES, 5),
        (94, 100, Verdict.DIFFERS, 6),
        (105, 100, Verdict.AGREES, -5),
        (106, 100, Verdict.DIFFERS, -6),
        (0, 2, Verdict.AGREES, 2),
        (0, 3, Verdict.DIFFERS, 3),
        (3, 0, Verdict.DIFFERS, -3),
    ],
)
def test_logins_within_the_band_agree_and_others_differ(
    settled: int, auth0: int, verdict: Verdict, excess: int
) -> None:
    day = judged(logins(settled), DailyCount(logins=auth0))
    assert (day.verdict, day.logins.excess) == (verdict, excess)
    assert set(day.differing) == ({"logins"} if verdict is Verdict.DIFFERS else set())


def test_every_outcome_counts_and_dead_letters_are_named() -> None:
    tallies = {
        ("s", FORWARDED): 50,
        ("s", FILTERED): 40,
        ("s", DEAD_LETTERED): 10,
        ("fp", DEAD_LETTERED): 3,
    }
    day = judged(tallies, DailyCount(logins=100))
    assert (day.verdict, day.logins.least, day.dead_letters) == (Verdict.AGREES, 100, 10)


def test_types_that_auth0_may_count_as_logins_make_a_range() -> None:
    tallies = logins(100) | {("sepft", FILTERED): 50, ("seacft", FILTERED): 900}
    assert judged(tallies, DailyCount(logins=130)).verdict is Verdict.AGREES
    assert judged(tallies, DailyCount(logins=100)).logins == Compared(
        least=100, most=150, auth0=100
    )
    assert judged(tallies, DailyCount(logins=170)).logins.excess == 20


def test_auth0_may_count_more_signups_than_are_logged_and_never_fewer() -> None:
    tallies = logins(20) | {("ss", FORWARDED): 10}
    assert judged(tallies, DailyCount(logins=20, signups=25)).verdict is Verdict.AGREES
    assert judged(tallies, DailyCount(logins=20, signups=34)).signups.excess == 4
    fewer = judged(tallies, DailyCount(logins=20, signups=7))
    assert (fewer.verdict, fewer.signups.excess) == (Verdict.DIFFERS, -3)


def test_a_day_that_auth0_leaves_out_has_no_events() -> None:
    assert judged({}).verdict is Verdict.AGREES
    assert judged(logins(9)).verdict is Verdict.DIFFERS


def hours(since: float, until: float) -> LogRange:
    def at(hour: float) -> LogId:
        return floor_id(BEGIN + timedelta(hours=hour))

    return LogRange(after=at(since), until=at(until))


@pytest.mark.parametrize(
    ("settled", "verdict"),
    [
        ((hours(0, 24),), Verdict.DIFFERS),
        ((hours(-1, 25),), Verdict.DIFFERS),
        ((hours(0, 23.9),), Verdict.PARTLY_SETTLED),
        ((hours(0.1, 24),), Verdict.PARTLY_SETTLED),
        ((hours(0, 8), hours(9, 24)), Verdict.PARTLY_SETTLED),
        ((hours(-9, 0), hours(24, 30)), Verdict.NOT_SETTLED),
        ((), Verdict.NOT_SETTLED),
    ],
)
def test_only_a_day_that_is_settled_whole_is_judged(
    settled: tuple[LogRange, ...], verdict: Verdict
) -> None:
    assert judged({}, DailyCount(logins=50), settled=settled).verdict is verdict


@pytest.mark.parametrize(
    ("now", "until", "verdict"),
    [
        (12, 12, Verdict.NOT_FINAL),
        (30, 29, Verdict.NOT_FINAL),
        (47.9, 40, Verdict.NOT_FINAL),
        (48, 40, Verdict.DIFFERS),
        (12, 0, Verdict.NOT_SETTLED),
        (30, 20, Verdict.PARTLY_SETTLED),
    ],
)
def test_a_day_is_not_final_before_the_next_one_is_over(
    now: float, until: float, verdict: Verdict
) -> None:
    moment = BEGIN + timedelta(hours=now)
    assert (
        judged({}, DailyCount(logins=50), settled=(hours(-5, until),), now=moment).verdict
        is verdict
    )


def test_the_days_of_a_range_are_whole_and_end_before_its_end() -> None:
    assert days_between(BEGIN + timedelta(hours=5), BEGIN + timedelta(days=1)) == (DAY,)
    assert days_between(BEGIN, BEGIN + timedelta(days=1, seconds=1)) == (
        DAY,
        DAY + timedelta(days=1),
    )
    assert days_between(BEGIN, BEGIN) == ()


@pytest.mark.parametrize("name", ["Signed Up", "Account Created", "Logged In"])
def test_a_signup_that_was_sent_for_a_login_is_shown_as_one_whatever_its_name(name: str) -> None:
    hour = BEGIN + timedelta(hours=8)
    tallies = {
        TallyKey(hour=hour, type="s", outcome=FORWARDED): 20,
        TallyKey(hour=hour, type="ss", outcome=FORWARDED): 8,
        TallyKey(hour=hour, type="fp", outcome=FORWARDED): 7,
        TallyKey(hour=hour + timedelta(hours=1), type="s", outcome=FORWARDED): 9,
    }
    sent = Counter({SentKey(hour=hour, type="s", name="Logged In"): 20})
    sent[SentKey(hour=hour, type="s", name=name)] += 5
    sent[SentKey(hour=hour, type="ss", name=name)] += 8
    sent[SentKey(hour=hour, type="fp", name="Login Failed")] += 7
    counted = {DAY: DailyCount(logins=29, signups=13)}
    (day,) = judge_days(tallies, counted, WHOLE, [DAY], now=LATER, sent=sent)
    assert (day.signups.settled, day.logins.settled) == (13, 29)


def test_each_name_is_counted_on_its_own_day() -> None:
    hour = BEGIN + timedelta(hours=8)
    tallies = {
        TallyKey(hour=hour, type="s", outcome=FORWARDED): 20,
        TallyKey(hour=hour, type="ss", outcome=FORWARDED): 8,
    }
    sent = {
        SentKey(hour=hour, type="s", name="Logged In"): 20,
        SentKey(hour=hour, type="s", name="Signed Up"): 5,
        SentKey(hour=hour, type="ss", name="Signed Up"): 8,
        SentKey(hour=hour - timedelta(days=1), type="s", name="Signed Up"): 100,
    }
    counted = {DAY: DailyCount(logins=20, signups=13)}
    (day,) = judge_days(tallies, counted, WHOLE, [DAY], now=LATER, sent=sent)
    assert (day.signups.settled, day.signups.auth0, day.logins.settled) == (13, 13, 20)
    assert day.sent == {"Logged In": 20, "Signed Up": 13}
    assert day.verdict is Verdict.AGREES
