"""The choice of the events of a file that are sent.

Files and the log overlap, and one file may hold an event twice. So an event is left out if it lies
outside of the wanted range, in a settled span, or among the events that this run settled before.
"""

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from poller.core.events import LogEvent, is_derived
from poller.core.log_ids import LogId, floor_id, just_below, moment_of
from poller.core.ports import FileLedger
from poller.core.spans import Gap, LogRange, Span, difference

REMEMBERED_IDS = 10_000
"""Events of this run that are recognized when they come again.

A log stream delivers at least once, and repeats an event soon after its first delivery.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeFilter:
    """The wanted range `(since, until]` of the log. None stands for an open end.

    An event whose log id holds no time is judged by its date. An event without a date is wanted.
    """

    since: LogId | None = None
    until: LogId | None = None

    def holds(self, event: LogEvent) -> bool:
        position = _position_of(event)
        if position is None:
            return True
        is_late_enough = self.since is None or position > self.since
        return is_late_enough and (self.until is None or position <= self.until)


def _position_of(event: LogEvent) -> LogId | None:
    """Return the place of an event in the log, or None if nothing tells."""
    if is_derived(event.log_id):
        return None
    if moment_of(event.log_id):
        return event.log_id
    return floor_id(event.date) if event.date else None


class SettledIds:
    """The log ids that spans have settled. A gap in a span is not settled.

    A gap that was read once is settled: only late arrivals can be missing in it.
    """

    def __init__(self, spans: Iterable[Span], gaps: Iterable[Gap]) -> None:
        self._source = (tuple(spans), tuple(gaps))
        spans, gaps = self._source
        self._ranges = difference(
            (LogRange(after=span.after, until=span.reached) for span in spans),
            (
                LogRange(after=gap.after, until=just_below(gap.before))
                for gap in gaps
                if not gap.is_read_once
            ),
        )

    def is_of(self, spans: tuple[Span, ...], gaps: tuple[Gap, ...]) -> bool:
        """Return whether these are the spans and gaps that the ids come from."""
        return self._source == (spans, gaps)

    def holds(self, log_id: LogId) -> bool:
        # The candidate is the last range that begins below the id.
        place = bisect_left(self._ranges, log_id, key=lambda each: each.after) - 1
        is_within = place >= 0 and log_id <= self._ranges[place].until
        return is_within and not is_derived(log_id)


class RecentIds:
    """The log ids that were settled last, over all files of a run. Thread-safe."""

    def __init__(self, capacity: int = REMEMBERED_IDS) -> None:
        self._capacity = capacity
        self._ids: OrderedDict[LogId, None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, log_id: object) -> bool:
        with self._lock:
            return log_id in self._ids

    def add(self, log_ids: Iterable[LogId]) -> None:
        with self._lock:
            self._ids.update(dict.fromkeys(log_ids))
            while len(self._ids) > self._capacity:
                self._ids.popitem(last=False)


@dataclass(slots=True, kw_only=True)
class ChosenEvents:
    """The chosen events of a page, by log id, and the number of the others.

    `outside` events lie outside of the wanted range, `skipped` events lie in settled spans, and
    `repeated` events came before in this run.
    """

    chosen: dict[LogId, LogEvent]
    outside: int = 0
    skipped: int = 0
    repeated: int = 0


class EventChooser:
    """Chooses events. It belongs to one thread, and only `recent` is shared by threads."""

    def __init__(self, ledger: FileLedger, wanted: RangeFilter, recent: RecentIds) -> None:
        self._ledger = ledger
        self._wanted = wanted
        self._recent = recent
        self._settled = SettledIds((), ())

    def choose(self, events: Iterable[LogEvent]) -> ChosenEvents:
        """Choose the events that are to be settled, each once, in the order of the page.

        The spans are read anew for each page, since the daemon may work at the same time.
        """
        spans, gaps = self._ledger.spans(), self._ledger.gaps()
        if not self._settled.is_of(spans, gaps):
            self._settled = SettledIds(spans, gaps)
        choice = ChosenEvents(chosen={})
        for event in events:
            if not self._wanted.holds(event):
                choice.outside += 1
            elif self._settled.holds(event.log_id):
                choice.skipped += 1
            elif event.log_id in choice.chosen or event.log_id in self._recent:
                choice.repeated += 1
            else:
                choice.chosen[event.log_id] = event
        return choice

    def remember(self, log_ids: Iterable[LogId]) -> None:
        """Leave these events out from now on, since they are settled."""
        self._recent.add(log_ids)
