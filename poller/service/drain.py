"""One drain: the live span, page by page, to the end of the log."""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from poller.core.errors import FatalError, PollerError
from poller.core.events import EARLIEST, LogId, Span, floor_id
from poller.core.forward import Courier, Forwarded, forward
from poller.core.ports import Ledger, LogSource, ProfileDirectory
from poller.core.translate import Translator
from poller.service.late import SecondWalk

START_MARGIN = timedelta(seconds=10)
"""A first start at "now" begins so much earlier: events take up to 6 s into the log (recordings of 2018 to 2023)."""

log = structlog.get_logger()


class ServerTime(Protocol):
    """Where the server's clock is read, and along with it the oldest event kept."""

    def oldest(self) -> tuple[LogId | None, datetime]: ...


class Drain:
    """Everything that forwarding the live span takes, bound together; `start` None is the server's now."""

    def __init__(  # noqa: PLR0913 - the four ports, and how to start and stop
        self,
        *,
        source: LogSource,
        profiles: ProfileDirectory,
        translator: Translator,
        courier: Courier,
        ledger: Ledger,
        server: ServerTime,
        second_walk: SecondWalk,
        start: LogId | None,
        stopping: threading.Event,
    ) -> None:
        self._ports = (source, profiles, translator, courier, ledger)
        self._ledger = ledger
        self._server = server
        self._second_walk = second_walk
        self._start = start
        self._stopping = stopping

    def pages(self) -> Iterator[Forwarded]:
        """Forwards up to the end of the log, or until told to stop; what was yielded is durable.

        Raises:
            TransientError, FatalError: as `forward`.
        """
        if self._stopping.is_set():
            return
        span = self._ledger.live_span() or self._first_start()
        self._second_walk.begin(span)
        for forwarded in forward(*self._ports, span):
            self._second_walk.follow(span, forwarded)
            span = forwarded.span
            report(forwarded)
            yield forwarded
            if self._stopping.is_set():
                return
            yield from self._late(forwarded)
            if forwarded.settlement.page.is_end or self._stopping.is_set():
                return

    def _late(self, forwarded: Forwarded) -> Iterator[Forwarded]:
        for late in self._second_walk.pages(forwarded.span, forwarded.settlement.page.served_at):
            report(late)
            yield late
            if self._stopping.is_set():
                return

    def _first_start(self) -> Span:
        _, now = self._server.oldest()
        after = floor_id(now - START_MARGIN) if self._start is None else self._start
        if after > floor_id(now):
            raise FatalError("poll.start lies in the future", hint="set it to now, earliest, or a time that is past")
        # Below the end of what a backfill has begun, all is the backfill's.
        ends = (other.until for other in self._ledger.spans() if other.until is not None)
        after = max([after, *ends])
        # Stored before the first fetch, so that a crash in it starts from here and not from a later now.
        span = self._ledger.begin(after=after)
        log.warning("span.begun", after=after, **({} if after == EARLIEST else {"note": _BEGUN}))
        return span


_BEGUN = (
    "first start: the daemon sends what comes from now on. To send what the tenant still keeps of the time before, "
    "run once, also beside the daemon: auth0-segment-poller backfill --since earliest"
)


def report(forwarded: Forwarded) -> None:
    """Tells of what a page left behind."""
    settlement = forwarded.settlement
    page = settlement.page
    if page.lost is not None:
        log.error("gap.recorded", after=page.lost.after, before=page.lost.before, note="below retention: lost")
    for letter in settlement.dead_letters:
        log.warning("event.dead_lettered", log_id=letter.event.log_id, reason=letter.reason, status=letter.status)
    log.debug("page.forwarded", reached=forwarded.span.reached, read=len(page.events))


def warn_of_profiles(error: PollerError) -> None:
    """For CachedProfiles: traits are missing, events go on."""
    log.warning("profiles.unavailable", reason=str(error), hint=getattr(error, "hint", None))
