"""The comparison of each day with the statistics of the tenant. Pure.

The counts of a day cannot be equal. Auth0 does not say by which formula it counts logins. As
signups it also counts users that were made by API, imported, or came by a social connection, and
the log has no `ss` of them (Auth0 community, 82447). So the log allows a range of numbers rather
than one number, and a day agrees if Auth0's number is within the range or close to it.
"""

import enum
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta

from poller.core.count_names import DEAD_LETTERED, FORWARDED
from poller.core.counts import SentKey, TallyKey
from poller.core.events import DailyCount
from poller.core.log_ids import floor_id
from poller.core.spans import LogRange, clip, range_covering
from poller.core.translation.event_types import LOGIN_TYPES, SIGNUP

BAND_PERCENT = 5
BAND_EVENTS = 2
FINAL_AFTER = timedelta(days=2)
"""The time from the beginning of a day after which Auth0 no longer changes its count.

The job behind the statistics goes on with a day until the end of the next one (recorded in 2021
and 2023).
"""

_LOGIN = "s"
_LOGINS = {login_type for login_type, twice in LOGIN_TYPES.items() if twice is None}
"""The types of which each event is a login by itself.

Auth0 surely counts `s`. Whether it counts the others is not known.
"""
_DAY = timedelta(days=1)
_MOMENT = timedelta(seconds=1)


class Verdict(enum.StrEnum):
    """The result for one day."""

    AGREES = "agrees"
    DIFFERS = "differs"
    NOT_FINAL = "not_final"
    """Auth0 still changes its count."""
    PARTLY_SETTLED = "partly_settled"
    """The ledger does not hold the whole day."""
    NOT_SETTLED = "not_settled"
    """The ledger holds nothing of the day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One count of a day. The settled events explain any number from `least` to `most`."""

    least: int
    most: int
    auth0: int
    derived: int = 0
    """The signups without an `ss` in the log, which were sent for logins."""

    @property
    def settled(self) -> int:
        """The number to show beside Auth0's."""
        return self.least + self.derived

    @property
    def excess(self) -> int:
        """The events that Auth0 has above `most`, or the negative number it has below `least`."""
        return max(self.auth0 - self.most, 0) + min(self.auth0 - self.least, 0)

    @property
    def agrees(self) -> bool:
        return abs(self.excess) <= max(BAND_EVENTS, math.ceil(self.auth0 * BAND_PERCENT / 100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One UTC day and its verdict."""

    day: date
    verdict: Verdict
    logins: Compared
    signups: Compared
    dead_letters: int
    """The logins and signups that are kept as dead letters."""
    sent: Mapping[str, int] = field(default_factory=dict)
    """The number of tracks that were sent, by their name."""

    @property
    def differing(self) -> dict[str, Compared]:
        """The counts that differ by more than the band."""
        both = {"logins": self.logins, "signups": self.signups}
        return {name: count for name, count in both.items() if not count.agrees}


def judge_days(
    tallies: Mapping[TallyKey, int],
    counted: Mapping[date, DailyCount],
    settled: Sequence[LogRange],
    days: Collection[date],
    *,
    now: datetime,
    sent: Mapping[SentKey, int] | None = None,
) -> tuple[Day, ...]:
    """Return a verdict on each of these days.

    `counted` is Auth0's count. A day that it leaves out had no events. `settled` is a union of
    ranges.
    """
    by_day: dict[date, dict[TallyKey, int]] = defaultdict(dict)
    for key, events in tallies.items():
        by_day[key.hour.date()][key] = events
    judged = (
        _day(day, by_day.get(day, {}), counted.get(day, DailyCount()), settled, now) for day in days
    )
    return tuple(_with_sent(day, sent or {}, by_day.get(day.day, {})) for day in judged)


def _with_sent(day: Day, sent: Mapping[SentKey, int], tallies: Mapping[TallyKey, int]) -> Day:
    """Add the tracks that were sent.

    A login has one track, and a second one if a signup was derived from it. Names of tracks do not
    tell the signups, since the settings may change a name.
    """
    names: Counter[str] = Counter()
    tracks: Counter[tuple[datetime, str]] = Counter()
    for sent_key, number in sent.items():
        if sent_key.hour.date() == day.day:
            names[sent_key.name] += number
            tracks[sent_key.hour, sent_key.type] += number
    logins: Counter[tuple[datetime, str]] = Counter()
    for key, events in tallies.items():
        if key.outcome == FORWARDED:
            logins[key.hour, key.type] += events
    # The difference leaves out hours without counts of tracks, which an older version settled.
    derived = (tracks - logins).total()
    return replace(day, sent=dict(names), signups=replace(day.signups, derived=derived))


def days_between(since: datetime, until: datetime) -> tuple[date, ...]:
    """Return the UTC days from that of `since` to the last one that begins before `until`."""
    first = since.astimezone(UTC).date()
    return tuple(_days(first, until))


def beginning_of(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _days(day: date, until: datetime) -> Iterator[date]:
    while beginning_of(day) < until:
        yield day
        day += _DAY


def _day(
    day: date,
    tallies: Mapping[TallyKey, int],
    counted: DailyCount,
    settled: Sequence[LogRange],
    now: datetime,
) -> Day:
    by_type: dict[str, int] = defaultdict(int)
    for key, events in tallies.items():
        by_type[key.type] += events
    logins, signups = sum(by_type[login_type] for login_type in _LOGINS), by_type[SIGNUP]
    dead_letters = (
        events
        for key, events in tallies.items()
        if key.outcome == DEAD_LETTERED and key.type in {*_LOGINS, SIGNUP}
    )
    unjudged = Day(
        day=day,
        verdict=Verdict.AGREES,
        logins=Compared(least=by_type[_LOGIN], most=logins, auth0=counted.logins),
        # A user of a social connection is made by a login, so there are at most as many.
        signups=Compared(least=signups, most=signups + logins, auth0=counted.signups),
        dead_letters=sum(dead_letters),
    )
    return replace(unjudged, verdict=_verdict(unjudged, settled, now))


def _verdict(day: Day, settled: Sequence[LogRange], now: datetime) -> Verdict:
    begin = beginning_of(day.day)
    end = begin + _DAY
    if not clip(settled, floor_id(begin), floor_id(end)):
        return Verdict.NOT_SETTLED
    # A day that still goes on counts as settled if its first moment is.
    settled_to = end if end <= now else begin + _MOMENT
    if range_covering(settled, begin, settled_to) is None:
        return Verdict.PARTLY_SETTLED
    if now < begin + FINAL_AFTER:
        return Verdict.NOT_FINAL
    return Verdict.DIFFERS if day.differing else Verdict.AGREES
