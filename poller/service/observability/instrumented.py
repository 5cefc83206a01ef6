"""The parts that work, with a meter beside them: each does what it did, and tells."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta

from poller.core.errors import FatalError
from poller.core.forward import Forwarded
from poller.core.messages import Batch, Receipt
from poller.core.pages import Page
from poller.core.ports import Budget, LogSource, MessageSink
from poller.core.spans import LogCursor
from poller.service.lifecycle.cycles import CycleJournal
from poller.service.observability.meter import Meter


def watch(pages: Iterator[Forwarded], meter: Meter) -> Iterator[Forwarded]:
    """The same pages."""
    for forwarded in pages:
        meter.settled(forwarded)
        yield forwarded


class MeteredLog:
    """A LogSource."""

    def __init__(self, source: LogSource, meter: Meter) -> None:
        self._source, self._meter = source, meter

    def fetch(self, cursor: LogCursor) -> Page:
        page = self._source.fetch(cursor)
        self._meter.fetched(page)
        return page


class MeteredSink:
    """A MessageSink."""

    def __init__(self, sink: MessageSink, meter: Meter) -> None:
        self._sink, self._meter = sink, meter

    def send(self, batch: Batch) -> Receipt:
        receipt = self._sink.send(batch)
        self._meter.acknowledged(batch)
        return receipt


class MeteredBudget:
    """A Budget."""

    def __init__(self, budget: Budget, meter: Meter) -> None:
        self._budget, self._meter = budget, meter

    def acquire(self, bucket: str) -> None:
        began = time.monotonic()
        try:
            self._budget.acquire(bucket)
        finally:
            self._meter.waited(bucket, time.monotonic() - began)

    def observe(
        self,
        bucket: str,
        *,
        limit: int,
        remaining: int,
        reset_in: timedelta,
        is_refused: bool = False,
    ) -> None:
        self._meter.limited(bucket, limit=limit, remaining=remaining)
        self._budget.observe(
            bucket, limit=limit, remaining=remaining, reset_in=reset_in, is_refused=is_refused
        )

    def missed(self, bucket: str) -> None:
        self._budget.missed(bucket)


class MeteredJournal:
    """A CycleJournal; the meter is told even where the note cannot be made."""

    def __init__(self, journal: CycleJournal, meter: Meter) -> None:
        self._journal, self._meter = journal, meter

    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        self._journal.note_cycle(at=at, error=error)

    def note_blocked(self, error: FatalError | None) -> None:
        self._meter.blocked(is_blocked=error is not None)
        self._journal.note_blocked(error)
