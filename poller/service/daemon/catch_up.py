"""The decision to catch up: fresh events do not wait behind what an outage left unread.

A drain that sees the end of the log within 30 s is the usual case, and stays as it is. Otherwise
the daemon looks how far the position is behind. If it is far behind, one transaction of the ledger
ends the live span, makes slices of what lies between, and begins a new live span at the present.
From then on the live loop forwards what is new, and other threads walk the slices.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.pages import Page
from poller.core.spans import LogCursor, LogRange, Span
from poller.service.daemon.first_start import START_MARGIN
from poller.service.slices.queue import SliceLedger
from poller.service.slices.slice import cut_into_slices

DRAIN_S = 30.0
"""The time that a drain may take before the daemon asks whether to catch up."""

log = structlog.get_logger()


class CatchUpLedger(Protocol):
    """A ledger that can end the live span and begin a new one at the present."""

    def begin_catch_up(self, live: Span, *, present: LogId, ends: Sequence[LogId]) -> Span:
        """Begin slices up to `present`, which end at `ends`, and return the new live span."""
        ...


class BacklogLedger(SliceLedger, Protocol):
    """The part of a ledger that knows the backlog, and the notes about it."""

    def backlog(self) -> Sequence[LogCursor]:
        """Return the slices of catch-ups and the inherited parts that are not finished."""
        ...

    def catch_up_since(self) -> datetime | None:
        """Return the time since when the daemon catches up, or None if nothing is left to do."""
        ...

    def note_catch_up(self, *, since: datetime | None, error: str | None) -> None:
        """Note since when the daemon catches up, and why it cannot go on now."""
        ...


class CatchUpRule:
    """Begins a catch-up when the live span is far behind. Used by one thread.

    `behind` is the shortest time of the log that is worth a catch-up, or None if the daemon never
    catches up. `pieces` tells into how many slices to cut. `begun` is called with the server's time
    after each catch-up has begun.
    """

    def __init__(
        self,
        ledger: CatchUpLedger,
        *,
        behind: timedelta | None,
        pieces: Callable[[], int],
        begun: Callable[[datetime], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._behind = behind
        self._pieces = pieces
        self._begun = begun
        self._monotonic = monotonic
        self._seen_at = monotonic()
        self._drained_s = 0.0
        """The time of all pages since the end of the log was in sight. Failures do not count."""

    def begin_drain(self) -> None:
        """Say that a drain begins. The time between drains does not count."""
        self._seen_at = self._monotonic()

    def end_drain(self) -> None:
        """Say that the end of the log is in sight."""
        self._drained_s = 0.0

    def begin_if_behind(self, live: LogCursor, page: Page) -> Span | None:
        """Begin a catch-up if it is time, and return the new live span, or None.

        Call it with the live span after each settled page that does not end a drain.

        Raises:
            TransientError, FatalError: the ledger cannot record it.
        """
        seen_at = self._monotonic()
        self._drained_s += seen_at - self._seen_at
        self._seen_at = seen_at
        if self._behind is None or self._drained_s < DRAIN_S or not isinstance(live, Span):
            return None
        now, moment = page.believed_at, moment_of(live.reached)
        if now is None or moment is None or now - moment <= self._behind:
            return None
        return self._begin(live, now)

    def _begin(self, live: Span, now: datetime) -> Span:
        present = floor_id(now - START_MARGIN)
        whole = LogRange(after=live.reached, until=present)
        slices = cut_into_slices([whole], self._pieces())
        span = self._ledger.begin_catch_up(
            live, present=present, ends=[each.until for each in slices[:-1]]
        )
        self._drained_s = 0.0
        log.warning(
            "catch_up.began",
            after=live.reached,
            until=present,
            slices=len(slices),
            behind_s=round(whole.length.total_seconds()),
            note="new events go first; what the outage left unread is sent beside them",
        )
        self._begun(now)
        return span
