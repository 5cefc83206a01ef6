"""The figures of one hour, and the search for what it is short of in other hours. Pure.

`poller.service.verify.received` says why.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from poller.core.count_names import FIRST

HOUR = timedelta(hours=1)
REPEAT_HOURS = 24
"""The hours before, in which an attempt may have been that nobody recorded.

Segment remembers message ids for at least so long (Segment docs: Handling Duplicate Data).
"""
MOST_UNRECORDED = 1000
"""The messages of one kind and name in an hour that may come from attempts nobody recorded."""


@dataclass(slots=True, kw_only=True)
class HourFigures:
    """The figures of one hour while they are weighed.

    `near` is what Segment received above what was acknowledged, as far as it may serve a
    neighbouring hour. `far` may serve any hour of the day after. `spare_drops` are drops of
    messages that were not acknowledged in this hour.
    """

    is_known: bool
    first: int = 0
    apart: Counter[str] = field(default_factory=Counter)
    received: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    filtered: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    spare_drops: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    elsewhere: int = 0
    near: int = 0
    far: int = 0

    def add(self, sending: str, number: int) -> None:
        """Add acknowledged messages of one kind of sending."""
        if sending == FIRST:
            self.first += number
        else:
            self.apart[sending] += number

    def weigh(self) -> None:
        """Divide the acknowledged messages by what became of them within the hour."""
        failed, filtered = self.failed.total(), self.filtered.total()
        passed = self.received - filtered if self.received >= filtered else self.received
        left = max(self.first - self.received, 0)
        self.lost = _part(self.failed, left)
        left = max(self.first - passed, 0) - self.lost.total()
        self.lost += _part(self.filtered, left)
        self.spare_drops = self.failed + self.filtered - self.lost
        self.missing = max(self.first - self.received - failed - filtered, 0)
        spare = max(passed - self.first, 0)
        self.far = min(spare, MOST_UNRECORDED)
        self.near = max(spare - self.apart.total(), self.far) if self.is_known else self.far


def _part(counts: Counter[str], most: int) -> Counter[str]:
    """Return at most so many of the counted things, in the order of their names."""
    found: Counter[str] = Counter()
    for name in sorted(counts):
        taken = min(counts[name], most)
        if taken > 0:
            found[name] = taken
            most -= taken
    return found


def make_up(
    hours: dict[datetime, HourFigures],
    judged: Sequence[datetime],
    nameless: Mapping[datetime, Counter[str]],
) -> None:
    """Find what is missing in an hour among what other hours have to spare.

    An earlier hour serves first. All hours reach equally far back, so that this order leaves the
    least unexplained.
    """
    short = [hour for hour in judged if hours[hour].missing]
    for hour in short:
        for other in _others(hours, hour, REPEAT_HOURS):
            _move(hours[hour], hours[other], hours[other].far)
    for hour in short:
        for other in _others(hours, hour, 1):
            _move(hours[hour], hours[other], hours[other].near)
    for hour in short:
        for other in _others(hours, hour, 1):
            _take_drops(hours[hour], hours[other].spare_drops)
        for other in (hour, hour - HOUR, hour + HOUR):
            if other in nameless:
                _take_drops(hours[hour], nameless[other])


def _others(hours: Mapping[datetime, HourFigures], hour: datetime, reach: int) -> list[datetime]:
    """Return the hours from `reach` before an hour to one after it, without the hour itself."""
    steps = (*range(-reach, 0), 1)
    return [hour + step * HOUR for step in steps if hour + step * HOUR in hours]


def _move(short: HourFigures, other: HourFigures, most: int) -> None:
    """Let an hour have of another one's surplus what it is short of, up to `most`."""
    taken = min(short.missing, most)
    short.missing -= taken
    short.elsewhere += taken
    other.near -= taken
    other.far = max(other.far - taken, 0)


def _take_drops(short: HourFigures, drops: Counter[str]) -> None:
    """Name what is missing in an hour by drops that nobody has a claim to."""
    taken = _part(drops, short.missing)
    short.missing -= taken.total()
    short.lost += taken
    drops.subtract(taken)
