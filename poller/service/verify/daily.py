"""Each day as the ledger settled it, beside the same day as the tenant's own statistics have it; pure.

The two cannot be equal. Auth0 counts logins by a formula that it does not tell, and as signups also users made by API,
imported, or of social connections, for which its log has no `ss` (Auth0 community, 82447). So a count is judged by the
range that the log allows, with a band on both sides.
"""

import enum
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta

from poller.core.events import DailyCount
from poller.core.log_ids import floor_id
from poller.core.settlement import DEAD_LETTERED, Sent, Tally
from poller.core.spans import LogRange, clip, range_covering
from poller.core.translation.event_facts import SIGNUP
from poller.core.translation.presets import SIGNED_UP
from poller.core.translation.rules import LOGIN_TYPES

BAND_PERCENT = 5
BAND_EVENTS = 2
FINAL_AFTER = timedelta(days=2)
"""The job behind the statistics goes on with a day until the end of the next one (recorded 2021 and 2023)."""

_LOGIN = "s"
_LOGINS = {kind for kind, twice in LOGIN_TYPES.items() if twice is None}
"""Each a login by itself. That Auth0 counts `s` is sure, of the others it is not."""
_DAY = timedelta(days=1)
_MOMENT = timedelta(seconds=1)


class Verdict(enum.StrEnum):
    """What can be said of a day."""

    AGREES = "agrees"
    DIFFERS = "differs"
    NOT_FINAL = "not_final"
    PARTLY_SETTLED = "partly_settled"
    NOT_SETTLED = "not_settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One count of a day: what the settled events explain, from `least` to `most`, and what Auth0 has."""

    least: int
    most: int
    auth0: int
    derived: int = 0
    """Signups that the log has no `ss` of, and that were sent for logins."""

    @property
    def settled(self) -> int:
        """What is shown beside Auth0's count."""
        return self.least + self.derived

    @property
    def excess(self) -> int:
        """By how many Auth0 has more than can be explained, or, below zero, fewer."""
        return max(self.auth0 - self.most, 0) + min(self.auth0 - self.least, 0)

    @property
    def agrees(self) -> bool:
        return abs(self.excess) <= max(BAND_EVENTS, math.ceil(self.auth0 * BAND_PERCENT / 100))


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One UTC day, and what can be said of it by the statistics; `dead_letters` are of its logins and signups."""

    day: date
    verdict: Verdict
    logins: Compared
    signups: Compared
    dead_letters: int
    sent: Mapping[str, int] = field(default_factory=dict)
    """The tracks that were sent, by name."""

    @property
    def differing(self) -> dict[str, Compared]:
        """The counts that differ by more than the band."""
        both = {"logins": self.logins, "signups": self.signups}
        return {name: count for name, count in both.items() if not count.agrees}


def reconcile(
    tallies: Mapping[Tally, int],
    counted: Mapping[date, DailyCount],
    settled: Sequence[LogRange],
    days: Collection[date],
    *,
    now: datetime,
    sent: Mapping[Sent, int] | None = None,
) -> tuple[Day, ...]:
    """A verdict on each of these days; one that Auth0 leaves out had nothing. `settled` is merged."""
    by_day: dict[date, dict[Tally, int]] = defaultdict(dict)
    for key, events in tallies.items():
        by_day[key.hour.date()][key] = events
    found = (
        _day(day, by_day.get(day, {}), counted.get(day, DailyCount()), settled, now) for day in days
    )
    return tuple(_with_sent(day, sent or {}) for day in found)


def _with_sent(day: Day, sent: Mapping[Sent, int]) -> Day:
    """Add what was sent by name. A track of a signup whose event is no `ss` was derived from a login."""
    names: dict[str, int] = defaultdict(int)
    derived = 0
    for key, tracks in sent.items():
        if key.hour.date() == day.day:
            names[key.name] += tracks
            derived += tracks if key.name == SIGNED_UP and key.type != SIGNUP else 0
    return replace(day, sent=dict(names), signups=replace(day.signups, derived=derived))


def days_between(since: datetime, until: datetime) -> tuple[date, ...]:
    """The UTC days from that of `since` to the last that begins before `until`."""
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
    tallies: Mapping[Tally, int],
    counted: DailyCount,
    settled: Sequence[LogRange],
    now: datetime,
) -> Day:
    by_type: dict[str, int] = defaultdict(int)
    for key, events in tallies.items():
        by_type[key.type] += events
    logins, signups = sum(by_type[kind] for kind in _LOGINS), by_type[SIGNUP]
    buried = (
        events
        for key, events in tallies.items()
        if key.outcome == DEAD_LETTERED and key.type in {*_LOGINS, SIGNUP}
    )
    found = Day(
        day=day,
        verdict=Verdict.AGREES,
        logins=Compared(least=by_type[_LOGIN], most=logins, auth0=counted.logins),
        # Who came by a social connection was made by a login, so there are no more of them than of those.
        signups=Compared(least=signups, most=signups + logins, auth0=counted.signups),
        dead_letters=sum(buried),
    )
    return replace(found, verdict=_verdict(found, settled, now))


def _verdict(day: Day, settled: Sequence[LogRange], now: datetime) -> Verdict:
    begin = beginning_of(day.day)
    end = begin + _DAY
    if not clip(settled, floor_id(begin), floor_id(end)):
        return Verdict.NOT_SETTLED
    # A day that goes on is settled to some moment of it, if from its beginning.
    if range_covering(settled, begin, end if end <= now else begin + _MOMENT) is None:
        return Verdict.PARTLY_SETTLED
    if now < begin + FINAL_AFTER:
        return Verdict.NOT_FINAL
    return Verdict.DIFFERS if day.differing else Verdict.AGREES
