"""The parts of the daemon, with a meter beside each.

A metered part does the work of the part that it wraps, and tells the meter. Where nobody scrapes,
`Instrumentation` leaves every part as it is, so that no call goes through a wrapper for nothing.
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from poller.core.errors import FatalError
from poller.core.forward import Forwarded
from poller.core.messages import Batch, Receipt
from poller.core.pages import Page
from poller.core.ports import Budget, LogSource, MessageSink
from poller.core.spans import LogCursor, Span
from poller.service.lifecycle.cycles import CycleJournal

if TYPE_CHECKING:  # a process without a listener does without the metrics library
    from poller.service.observability.meter import Meter

RequestObserver = Callable[[str, int | None, float], None]
"""Told of each request: its path, the status or None without an answer, the seconds it took."""

_CALLS = {
    "auth0": {"/api/v2/logs": "logs", "/api/v2/users": "users", "/oauth/token": "token"},
    "segment": {"/v1/batch": "batch"},
}
"""The calls of each service that are counted apart, by the beginning of their path."""


class Instrumentation:
    """No metrics. Every part stays as it is."""

    def request_observer(self, service: str) -> RequestObserver:
        """Return the observer of the requests to `auth0` or `segment`."""
        del service
        return lambda _path, _status, _seconds: None

    def wrap_budget(self, budget: Budget) -> Budget:
        return budget

    def wrap_log(self, source: LogSource) -> LogSource:
        return source

    def wrap_sink(self, sink: MessageSink) -> MessageSink:
        return sink

    def wrap_pages(
        self, pages: Callable[[], Iterator[Forwarded]]
    ) -> Callable[[], Iterator[Forwarded]]:
        return pages

    def wrap_journal(self, journal: CycleJournal) -> CycleJournal:
        return journal

    def start_at(self, live: Span | None) -> None:
        """Set where the ledger stands when the daemon starts."""

    def set_confirmed(self, confirmed_at: datetime | None) -> None:
        """Set the time up to which the log is confirmed."""

    def set_retention(self, retention: timedelta) -> None:
        """Set the age of the oldest event in the log."""


NO_METRICS = Instrumentation()


class Metering(Instrumentation):
    """Metrics of one meter. Every part is wrapped."""

    def __init__(self, meter: "Meter") -> None:
        self._meter = meter

    def request_observer(self, service: str) -> RequestObserver:
        return self._meter.observer_of(service, _CALLS[service])

    def wrap_budget(self, budget: Budget) -> Budget:
        return MeteredBudget(budget, self._meter)

    def wrap_log(self, source: LogSource) -> LogSource:
        return MeteredLog(source, self._meter)

    def wrap_sink(self, sink: MessageSink) -> MessageSink:
        return MeteredSink(sink, self._meter)

    def wrap_pages(
        self, pages: Callable[[], Iterator[Forwarded]]
    ) -> Callable[[], Iterator[Forwarded]]:
        return lambda: metered_pages(pages(), self._meter)

    def wrap_journal(self, journal: CycleJournal) -> CycleJournal:
        return MeteredJournal(journal, self._meter)

    def start_at(self, live: Span | None) -> None:
        self._meter.start_at(live)

    def set_confirmed(self, confirmed_at: datetime | None) -> None:
        self._meter.set_confirmed(confirmed_at)

    def set_retention(self, retention: timedelta) -> None:
        self._meter.set_retention(retention)


def metered_pages(pages: Iterator[Forwarded], meter: "Meter") -> Iterator[Forwarded]:
    """Pass on the pages, and count each as settled."""
    for forwarded in pages:
        meter.count_settled(forwarded)
        yield forwarded


class MeteredLog:
    """A LogSource that counts the pages it fetches."""

    def __init__(self, source: LogSource, meter: "Meter") -> None:
        self._source, self._meter = source, meter

    def fetch(self, cursor: LogCursor) -> Page:
        page = self._source.fetch(cursor)
        self._meter.count_fetched(page)
        return page


class MeteredSink:
    """A MessageSink that counts the batches that Segment acknowledges."""

    def __init__(self, sink: MessageSink, meter: "Meter") -> None:
        self._sink, self._meter = sink, meter

    def send(self, batch: Batch) -> Receipt:
        receipt = self._sink.send(batch)
        self._meter.count_acknowledged(batch)
        return receipt


class MeteredBudget:
    """A Budget that measures the waits and the limits."""

    def __init__(self, budget: Budget, meter: "Meter") -> None:
        self._budget, self._meter = budget, meter

    def acquire(self, bucket: str) -> None:
        began_at = time.monotonic()
        try:
            self._budget.acquire(bucket)
        finally:
            self._meter.add_wait(bucket, time.monotonic() - began_at)

    def observe(
        self,
        bucket: str,
        *,
        limit: int,
        remaining: int,
        reset_in: timedelta,
        is_refused: bool = False,
    ) -> None:
        self._meter.set_rate_limit(bucket, limit=limit, remaining=remaining)
        self._budget.observe(
            bucket, limit=limit, remaining=remaining, reset_in=reset_in, is_refused=is_refused
        )

    def missed(self, bucket: str) -> None:
        self._budget.missed(bucket)


class MeteredJournal:
    """A CycleJournal that also tells the meter whether the daemon is blocked.

    The meter is told first, because the note may fail, as on a full disk.
    """

    def __init__(self, journal: CycleJournal, meter: "Meter") -> None:
        self._journal, self._meter = journal, meter

    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        self._journal.note_cycle(at=at, error=error)

    def note_blocked(self, error: FatalError | None) -> None:
        self._meter.set_blocked(is_blocked=error is not None)
        self._journal.note_blocked(error)
