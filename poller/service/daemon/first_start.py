"""The first start: the choice of the position at which the live span begins."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal, Protocol

import structlog

from poller.core.errors import FatalError
from poller.core.log_ids import LogId, floor_id, just_below, moment_of
from poller.core.ports import Ledger
from poller.core.spans import LogRange, Span, holes_between

START_MARGIN = timedelta(seconds=10)
"""A first start at "now" begins this much earlier.

An event takes up to 6 s to appear in the log, in recordings of 2018 to 2023. So an event of the
last seconds may still be on its way.
"""
BEGUN_NOW = (
    "first start: the daemon sends what comes from now on. To send what the tenant still keeps of "
    "the time before, run once, also beside the daemon: "
    "`backfill --since earliest`"
)
_BEGUN_AT_EARLIEST = "first start: everything that the tenant still keeps is sent"

Start = LogId | Literal["earliest"] | None

log = structlog.get_logger()


class LiveLedger(Ledger, Protocol):
    """A ledger that knows where a backfill ended before the first start."""

    def backfilled_until(self) -> LogId | None:
        """Return where a backfill without `until` ended, or None."""
        ...

    def note_beginning(self, position: LogId) -> None:
        """Record where the daemon was to begin, even if a backfill makes it begin above."""
        ...


class LogBounds(Protocol):
    """Reads the server's time and both ends of the log."""

    def oldest_kept(self) -> tuple[LogId | None, datetime]:
        """Return the oldest event kept whose id has today's form, and the time of the answer."""
        ...

    def newest_id_in_search(self) -> LogId | None:
        """Return the newest event that the search shows."""
        ...

    def oldest_in_search(self) -> LogId | None:
        """Return the oldest event that the search shows."""
        ...


class FirstStart:
    """Begins the live span.

    `start` is a position, or `"earliest"` for the oldest event kept, or None for now. `together`
    gets the chosen position before anything is read. It begins the streams that must begin where
    this one does, and may begin this one among them.
    """

    def __init__(
        self,
        ledger: LiveLedger,
        bounds: LogBounds,
        start: Start,
        together: Callable[[LogId], None] = lambda _: None,
    ) -> None:
        self._ledger = ledger
        self._bounds = bounds
        self._start = start
        self._together = together

    def begin(self) -> Span:
        """Choose the beginning, record the live span, and return it.

        The span is recorded before the first page is read. A crash in between then starts again
        from here and not from a later now. And what retention removes above the beginning from now
        on is noticed as a gap.

        Raises:
            FatalError: `start` lies in the future.
            TransientError, FatalError: Auth0 or the ledger cannot answer.
        """
        wanted = self._choose()
        self._together(wanted)
        span = self._begun() or self._begin(wanted)
        holes = holes_between(self._ledger.spans(), since=wanted)
        is_everything = self._start == "earliest" and not holes
        note = _BEGUN_AT_EARLIEST if is_everything else BEGUN_NOW
        log.warning("span.begun", after=span.reached, note=note)
        _log_holes(holes)
        return span

    def _begun(self) -> Span | None:
        """Return the live span if it has begun together with others."""
        live = self._ledger.live_span()
        return None if live is None else self._ledger.begin_work(live)

    def _begin(self, wanted: LogId) -> Span:
        # A backfill that has begun owns everything below its end, so the live span begins there.
        ends = [span.until for span in self._ledger.spans() if span.until is not None]
        span = self._ledger.begin(after=max([wanted, *ends]))
        self._ledger.note_beginning(wanted)
        return span

    def _choose(self) -> LogId:
        oldest, now = self._bounds.oldest_kept()
        latest = self._bounds.newest_id_in_search()
        if latest is not None and moment_of(latest) is None:
            return self._choose_without_time(latest)
        present = floor_id(now - START_MARGIN)
        if self._start == "earliest":
            return present if oldest is None else just_below(oldest)
        if self._start is None:
            return self._ledger.backfilled_until() or present
        refuse_future(self._start, now)
        return self._start

    def _choose_without_time(self, latest: LogId) -> LogId:
        """Begin at an event of the log, since no time can be compared with its ids."""
        first = self._bounds.oldest_in_search() if self._start == "earliest" else None
        log.error(
            "log.ids_without_time",
            newest=latest,
            note="this tenant's log ids hold no time, so that the position is an event of the log",
            hint="poll.start knows only now and earliest here; "
            "look at the first events with `preview`",
        )
        return latest if first is None else just_below(first)


def refuse_future(start: LogId, now: datetime) -> None:
    """Refuse a first start at a time that has not come yet.

    Raises:
        FatalError: `start` lies in the future.
    """
    if start > floor_id(now):
        raise FatalError(
            "poll.start lies in the future",
            code="start-in-future",
            hint="set it to now, earliest, or a time that is past",
        )


def _log_holes(holes: Sequence[LogRange]) -> None:
    """Warn of each part that no span holds, since nothing will send it by itself."""
    for hole in holes:
        moment = moment_of(hole.after)
        since = f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else "earliest"
        log.warning(
            "span.hole",
            after=hole.after,
            until=hole.until,
            note="no span holds this stretch: it lies beside what a backfill has begun",
            hint=f"run `backfill --since {since}`",
        )
