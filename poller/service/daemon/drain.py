"""One drain: the live span, page by page, to the end of the log."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

import structlog

from poller.core.delivery import BatchSender
from poller.core.errors import FatalError
from poller.core.forward import Forwarded, forward
from poller.core.log_ids import LogId, floor_id, just_below, moment_of
from poller.core.pages import Page
from poller.core.ports import Ledger, LogSource, ProfileDirectory
from poller.core.spans import Span, holes_between
from poller.core.translation.translator import Translator
from poller.service.daemon.late_arrivals import LookbackScan
from poller.service.observability.page_log import report

START_MARGIN = timedelta(seconds=10)
"""A first start at "now" begins so much earlier: events take up to 6 s into the log (recordings of 2018 to 2023)."""

PAGES_WITHOUT_TIME_LIMIT = 1000
"""A poll ends after so many pages where the server's time is not believed."""

log = structlog.get_logger()


class LiveLedger(Ledger, Protocol):
    """A ledger that knows where a first start goes on above a backfill."""

    def backfilled_until(self) -> LogId | None:
        """Return the end that a backfill left open, or None."""
        ...


class LogBounds(Protocol):
    """Reads the server's time and both ends of the log. Used at a first start."""

    def oldest(self) -> tuple[LogId | None, datetime]:
        """Return the oldest event kept whose id has today's form, and the time of the answer."""
        ...

    def latest(self) -> LogId | None:
        """Return the newest event that the search shows."""
        ...

    def first(self) -> LogId | None:
        """Return the oldest event that the search shows."""
        ...


class Drain:
    """Everything that forwarding the live span takes, bound together.

    `start` says where a first start begins: at a position, or at the `"earliest"` event kept, or
    at the server's now (None).
    """

    def __init__(  # noqa: PLR0913 - the four ports, and how to start and stop
        self,
        *,
        source: LogSource,
        profiles: ProfileDirectory,
        translator: Translator,
        sender: BatchSender,
        ledger: LiveLedger,
        bounds: LogBounds,
        lookback: LookbackScan,
        start: LogId | Literal["earliest"] | None,
        stopping: threading.Event,
    ) -> None:
        self._ports = (source, profiles, translator, sender, ledger)
        self._ledger = ledger
        self._bounds = bounds
        self._lookback = lookback
        self._start = start
        self._stopping = stopping

    def pages(self) -> Iterator[Forwarded]:
        """Forward up to the end of the log, or until told to stop. A yield means durable.

        Raises:
            TransientError, FatalError: as `forward`.
        """
        if self._stopping.is_set():
            return
        self._lookback.begin()
        span = self._ledger.live_span() or self._first_start()
        poll = _Poll()
        for forwarded in forward(*self._ports, span):
            report(forwarded)
            yield forwarded
            if self._stopping.is_set():
                return
            yield from self._late(forwarded.settlement.page)
            if poll.is_over(forwarded.settlement.page) or self._stopping.is_set():
                return

    def _late(self, page: Page) -> Iterator[Forwarded]:
        for late in self._lookback.pages(page.believed_at):
            report(late)
            yield late
            if self._stopping.is_set():
                return

    def _first_start(self) -> Span:
        oldest, now = self._bounds.oldest()
        latest = self._bounds.latest()
        if latest is None or moment_of(latest) is not None:
            after = self._beginning(oldest, now)
        else:
            after = self._beginning_without_time(latest)
        # Below the end of what a backfill has begun, everything is the backfill's.
        ends = [other.until for other in self._ledger.spans() if other.until is not None]
        beginning, after = after, max([after, *ends])
        # Stored before the first fetch, so that a crash in it starts from here and not from a
        # later now, and so that retention cannot remove anything above it unnoticed.
        span = self._ledger.begin(after=after)
        left = [
            (hole.after, hole.until)
            for hole in holes_between(self._ledger.spans(), since=beginning)
        ]
        _tell_of_first_start(after, left, is_all=self._start == "earliest" and not left)
        return span

    def _beginning(self, oldest: LogId | None, now: datetime) -> LogId:
        present = floor_id(now - START_MARGIN)
        if self._start == "earliest":
            return just_below(oldest) if oldest is not None else present
        if self._start is None:
            return self._ledger.backfilled_until() or present
        if self._start > floor_id(now):
            raise FatalError(
                "poll.start lies in the future",
                code="start-in-future",
                hint="set it to now, earliest, or a time that is past",
            )
        return self._start

    def _beginning_without_time(self, latest: LogId) -> LogId:
        """Begin at an event of the log, since no time can be compared with its ids."""
        first = self._bounds.first() if self._start == "earliest" else None
        log.error(
            "log.ids_without_time",
            newest=latest,
            note="this tenant's log ids hold no time, so that the position is an event of the log",
            hint="poll.start knows only now and earliest here; look at the first events with `preview`",
        )
        return latest if first is None else just_below(first)


@dataclass(slots=True)
class _Poll:
    """One drain, and when it is over: at the end of the log, or at the time of its first answer.

    Traffic that always fills a page would never let it see the end of the log.
    """

    pages: int = 0
    began_at: datetime | None = None

    def is_over(self, page: Page) -> bool:
        if self.pages == 0:
            self.began_at = page.believed_at
        self.pages += 1
        if page.is_end:
            return True
        if self.began_at is None:
            return self.pages >= PAGES_WITHOUT_TIME_LIMIT
        reached = moment_of(page.position)
        return reached is not None and reached >= self.began_at


def _tell_of_first_start(
    after: LogId, left: Sequence[tuple[LogId, LogId]], *, is_all: bool
) -> None:
    note = _BEGUN_AT_THE_EARLIEST if is_all else _BEGUN
    log.warning("span.begun", after=after, note=note)
    for below, above in left:
        log.warning(
            "span.hole",
            after=below,
            until=above,
            note="no span holds this stretch: it lies beside what a backfill has begun",
            hint=f"auth0-segment-poller backfill --since {_written(below)}",
        )


def _written(log_id: LogId) -> str:
    moment = moment_of(log_id)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}" if moment else "earliest"


_BEGUN = (
    "first start: the daemon sends what comes from now on. To send what the tenant still keeps of the time before, "
    "run once, also beside the daemon: auth0-segment-poller backfill --since earliest"
)
_BEGUN_AT_THE_EARLIEST = "first start: everything that the tenant still keeps is sent"
