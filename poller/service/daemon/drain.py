"""A drain: the live span is forwarded page by page to the end of the log."""

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from poller.core.delivery import BatchSender
from poller.core.errors import PollerError
from poller.core.forward import Forwarded, forward
from poller.core.log_ids import moment_of
from poller.core.pages import Page
from poller.core.ports import Ledger, LogSource, ProfileDirectory
from poller.core.spans import Span
from poller.core.translation.translator import Translator
from poller.service.daemon.catch_up import CatchUpRule
from poller.service.daemon.first_start import FirstStart
from poller.service.daemon.late_arrivals import SecondReader
from poller.service.observability.instrumented import NO_OBSERVER, MeteredLog, Observer
from poller.service.observability.page_log import report
from poller.service.upstream.read_ahead import ReadAhead, Runner, Worker

PAGES_WITHOUT_TIME_LIMIT = 1000
"""Pages after which a drain ends if the server's time is not believed."""
_RESOLUTION_OF_DATE = timedelta(seconds=1)
"""The resolution of the time of an answer. Its header `Date` drops the fraction of a second.

An event of the same second may have come before the answer, so the drain reads the whole second.
"""


class Drain:
    """The forwarding of the live span, with the ports that it needs.

    The pages of a drain are read ahead. The directory is expected to remember the profiles that
    were asked for, since a page that was read ahead asks for them twice.
    """

    def __init__(  # noqa: PLR0913 - the four ports, and how to start and stop
        self,
        *,
        source: LogSource,
        profiles: ProfileDirectory,
        translator: Translator,
        sender: BatchSender,
        ledger: Ledger,
        first_start: FirstStart,
        second_reader: SecondReader,
        catch_up: CatchUpRule,
        stopping: threading.Event,
        observer: Observer = NO_OBSERVER,
        runner: Callable[[str], Runner] = Worker,
    ) -> None:
        self._read_ahead = ReadAhead(source, self._read_profiles, runner=runner)
        self._ports = (profiles, translator, sender, ledger)
        self._profiles = profiles
        self._translator = translator
        self._observer = observer
        self._ledger = ledger
        self._first_start = first_start
        self._second_reader = second_reader
        self._catch_up = catch_up
        self._stopping = stopping

    def pages(self) -> Iterator[Forwarded]:
        """Forward up to the end of the log, or until told to stop.

        Each page is durable when it is yielded. A round of the second reading may follow each page
        of the first. If a catch-up begins on the way, the drain goes on with the new live span.

        Raises:
            TransientError, FatalError: as `forward`.
            TakenOverError: a later daemon works on the live span.
        """
        if self._stopping.is_set():
            return
        span = self._begin_work()
        self._second_reader.clear_if_switched_off()
        self._catch_up.begin_drain()
        while span is not None:
            with self._read_ahead.walk(_DrainEnd().is_reached) as walk:
                span = yield from self._forward(walk, span)

    def _begin_work(self) -> Span | None:
        """Return the live span, which no earlier owner can settle from now on.

        Raises:
            TakenOverError: a later daemon works on the live span.
        """
        live = self._ledger.live_span()
        if live is None:
            return self._first_start.begin()
        return self._ledger.begin_work(live)

    def _forward(self, source: LogSource, span: Span) -> Generator[Forwarded, None, Span | None]:
        """Forward the live span. Return the new live span if a catch-up has begun."""
        end = _DrainEnd()
        for forwarded in forward(MeteredLog(source, self._observer), *self._ports, span):
            report(forwarded)
            yield forwarded
            if self._stopping.is_set():
                return None
            page = forwarded.settlement.page
            yield from self._late_arrivals(page.believed_at)
            if end.is_reached(page):
                self._catch_up.end_drain()
                return None
            if self._stopping.is_set():
                return None
            begun = self._catch_up.begin_if_behind(forwarded.cursor, page)
            if begun is not None:
                return begun
        return None

    def _read_profiles(self, page: Page) -> None:
        """Read the profiles of a page that was read ahead. `forward` meets a failure again."""
        with contextlib.suppress(PollerError):
            self._profiles.of(self._translator.select(page.events, page.believed_at).users)

    def _late_arrivals(self, now: datetime | None) -> Iterator[Forwarded]:
        for forwarded in self._second_reader.pages(now):
            report(forwarded)
            yield forwarded
            if self._stopping.is_set():
                return


@dataclass(slots=True)
class _DrainEnd:
    """The end of a drain: the end of the log, or the time of the drain's first answer.

    With traffic that always fills a page, a drain would never see the end of the log. So it also
    ends when it has read everything that was there when it began.
    """

    pages: int = 0
    began_at: datetime | None = None

    def is_reached(self, page: Page) -> bool:
        """Return whether this page ends the drain. Call it with each page once."""
        if self.pages == 0:
            self.began_at = page.believed_at
        self.pages += 1
        if page.is_end:
            return True
        if self.began_at is None:
            return self.pages >= PAGES_WITHOUT_TIME_LIMIT
        moment = moment_of(page.position)
        return moment is not None and moment >= self.began_at + _RESOLUTION_OF_DATE
