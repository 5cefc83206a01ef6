"""The clocks of the two services. A clock is believed if another clock agrees with it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

AGREEMENT = timedelta(minutes=5)
"""Two clocks that differ by no more than this agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ClockReading:
    """A time that a clock told, and the monotonic clock at that moment."""

    moment: datetime
    seen_s: float

    def at(self, now_s: float) -> datetime:
        return self.moment + timedelta(seconds=now_s - self.seen_s)


class ServerClock:
    """The clock of one service, read from the `Date` of its answers.

    A single clock proves nothing. A host may be set wrong, and a proxy may answer from its cache. A
    `Date` is believed if the host's clock, the other service's clock or the newest log ids agree
    with it. Thread-safe.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        host: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._monotonic = monotonic
        self._host = host
        self._others: list[ServerClock] = []
        self._latest: _ClockReading | None = None
        self._believed: _ClockReading | None = None
        self._log: _ClockReading | None = None

    def observe(self, date: datetime) -> datetime | None:
        """Return the `Date` of the answer that has just come if another clock agrees with it."""
        reading = _ClockReading(moment=date, seen_s=self._monotonic())
        self._latest = reading
        if not any(_agree(date, witness) for witness in self._witnesses()):
            return None
        self._believed = reading
        return date

    def observe_log(self, date: datetime, newest: datetime) -> datetime | None:
        """Return the `Date` of an answer that showed the end of the log, if it can be believed.

        It can be believed if the newest event is about as young as the answer. The log decides
        only while no two clocks agree, since an answer from a cache agrees with its own events.
        """
        if self.agreed() is None and _agree(date, newest):
            self._log = _ClockReading(moment=date, seen_s=self._monotonic())
        return self.observe(date)

    def agreed(self) -> datetime | None:
        """Return a time on which two clocks agree, or None. This service's time comes first."""
        known = (clock.believed() for clock in (self, *self._others))
        return next((moment for moment in known if moment is not None), None)

    def now(self) -> datetime:
        """Return the time that two clocks agree on, or else the host's."""
        return self.agreed() or self._host()

    def believed(self) -> datetime | None:
        """Return this service's time if another clock agrees with it now, else None."""
        now_s = self._monotonic()
        times = [
            reading.at(now_s) for reading in (self._believed, self._latest) if reading is not None
        ]
        witnesses = [*self._witnesses()]
        return next(
            (moment for moment in times if any(_agree(moment, other) for other in witnesses)), None
        )

    def _witnesses(self) -> Iterator[datetime]:
        yield self._host()
        if self._log is not None:
            yield self._log.at(self._monotonic())
        for other in self._others:
            for reading in (other._believed, other._latest):  # noqa: SLF001 - of this class
                if reading is not None:
                    yield reading.at(other._monotonic())  # noqa: SLF001 - same


def introduce(one: ServerClock, other: ServerClock) -> None:
    """Let the clocks of two services confirm each other."""
    one._others.append(other)  # noqa: SLF001 - this function joins two clocks of one class
    other._others.append(one)  # noqa: SLF001 - same


def earliest_now(at: datetime, date: datetime | None, *, not_before: datetime | None) -> datetime:
    """Return the lower of the host's time and the server's `Date`.

    A position that is too low costs time. A position that is too high costs events. The time never
    lies below `not_before`, the time inside a log id that was read: a clock that shows less is
    wrong.
    """
    if not_before is None:
        return at
    times = [moment for moment in (at, date) if moment is not None]
    return min((each for each in times if each + AGREEMENT >= not_before), default=not_before)


def _agree(one: datetime, other: datetime) -> bool:
    return abs(one - other) <= AGREEMENT
