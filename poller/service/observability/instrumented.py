"""The parts of the daemon that tell an observer what they do.

Each metered part does the work of the part that it wraps. The meter is an observer. A process that
is not scraped uses `NO_OBSERVER`, and never imports the metrics library.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from poller.core.errors import FatalError
from poller.core.forward import Forwarded
from poller.core.messages import Batch, Message, Receipt
from poller.core.pages import Page
from poller.core.ports import LogSource, MessageSink
from poller.core.spans import LogCursor, Span
from poller.service.lifecycle.backlog import Backlog
from poller.service.lifecycle.cycles import CycleJournal
from poller.service.upstream.rate_limit import RateLimiter

MOST_MISSING = 200
MOST_MISSING_SHARE = 0.01
"""Above both of these bounds the alert fires. One page gives about 200 messages."""

RequestObserver = Callable[[str, int | None, float], None]
"""Told of each request: its path, the status or None without an answer, the seconds it took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentCounts:
    """The messages of the last 24 hours that are final, and the time of the look.

    `acknowledged` holds each message once. `missing` are acknowledged messages that Segment does
    not pass on. `failed` and `filtered` are counts by Segment's reason.
    """

    at: datetime
    acknowledged: int
    received: int
    missing: int
    failed: Mapping[str, int] = field(default_factory=dict)
    filtered: Mapping[str, int] = field(default_factory=dict)


def is_alarming(counts: SegmentCounts) -> bool:
    """Return whether so many messages are missing that somebody must be told."""
    return counts.missing > max(MOST_MISSING, MOST_MISSING_SHARE * counts.acknowledged)


class Observer:
    """Told what the daemon does. This one does nothing with it. No method raises."""

    def start_at(self, live: Span | None) -> None:
        """Note the position of the ledger when the daemon starts."""

    def note_time(self, served_at: datetime) -> None:
        """Note the tenant's time of an answer that has just come."""

    def count_fetched(self, page: Page) -> None:
        """Count a page of the live span, which is in hand from now on."""

    def count_settled(self, forwarded: Forwarded) -> None:
        """Count a page that is durable. Any thread may do so."""

    def count_acknowledged(self, batch: Batch) -> None:
        """Count a batch that Segment acknowledged. After a failure it may be the same one again."""

    def requests_to(self, service: str) -> RequestObserver:
        """Return the observer of the requests to `auth0` or to `segment`."""
        del service
        return lambda _path, _status, _seconds: None

    def set_rate_limit(self, endpoint: str, *, limit: int, remaining: int) -> None:
        """Note what an answer said about a rate limit."""

    def add_wait(self, endpoint: str, seconds: float) -> None:
        """Add the time that a request waited for the rate limit. Zero seconds count too."""

    def watch_backlog(self, look: Callable[[], Backlog]) -> None:
        """Ask this function for the backlog, from any thread and as often as somebody looks."""

    def set_blocked(self, *, is_blocked: bool, code: str = "") -> None:
        """Note whether the daemon waits for somebody to act, and the code of the error."""

    def set_retention(self, retention: timedelta) -> None:
        """Note the age of the oldest event in the log."""

    def set_confirmed(self, confirmed_at: datetime | None) -> None:
        """Note the time up to which the log is confirmed. None: nothing is left to read."""

    def set_segment_counts(self, counts: SegmentCounts) -> None:
        """Note what the last look at Segment's own counts found."""

    def count_failed_look(self) -> None:
        """Count a look at Segment's own counts that failed."""


NO_OBSERVER = Observer()


def metered_pages(pages: Iterator[Forwarded], observer: Observer) -> Iterator[Forwarded]:
    """Pass on the pages, and count each as settled."""
    for forwarded in pages:
        observer.count_settled(forwarded)
        yield forwarded


class TimedLog:
    """A LogSource that notes the tenant's time of each answer. Thread-safe if the source is."""

    def __init__(self, source: LogSource, observer: Observer) -> None:
        self._source, self._observer = source, observer

    def fetch(self, cursor: LogCursor) -> Page:
        page = self._source.fetch(cursor)
        self._observer.note_time(page.served_at)
        return page


class MeteredLog:
    """A LogSource that counts the pages it gives, whenever they were fetched."""

    def __init__(self, source: LogSource, observer: Observer) -> None:
        self._source, self._observer = source, observer

    def fetch(self, cursor: LogCursor) -> Page:
        page = self._source.fetch(cursor)
        self._observer.count_fetched(page)
        return page


class MeteredSink:
    """A MessageSink that counts the batches that Segment acknowledges."""

    def __init__(self, sink: MessageSink, observer: Observer) -> None:
        self._sink, self._observer = sink, observer

    def encode(self, message: Message) -> bytes:
        return self._sink.encode(message)

    def send(self, batch: Batch) -> Receipt:
        receipt = self._sink.send(batch)
        self._observer.count_acknowledged(batch)
        return receipt


class MeteredRateLimiter:
    """A RateLimiter that measures the waits and the limits."""

    def __init__(self, limiter: RateLimiter, observer: Observer) -> None:
        self._limiter, self._observer = limiter, observer

    def acquire(self, endpoint: str) -> None:
        began_at = time.monotonic()
        try:
            self._limiter.acquire(endpoint)
        finally:
            self._observer.add_wait(endpoint, time.monotonic() - began_at)

    def observe(
        self,
        endpoint: str,
        *,
        limit: int,
        remaining: int,
        reset_in: timedelta,
        is_refused: bool = False,
    ) -> None:
        self._observer.set_rate_limit(endpoint, limit=limit, remaining=remaining)
        self._limiter.observe(
            endpoint, limit=limit, remaining=remaining, reset_in=reset_in, is_refused=is_refused
        )

    def observe_nothing(self, endpoint: str) -> None:
        self._limiter.observe_nothing(endpoint)


class MeteredJournal:
    """A CycleJournal that also tells the observer whether the daemon is blocked.

    The observer is told first, because the note may fail, for example on a full disk.
    """

    def __init__(self, journal: CycleJournal, observer: Observer) -> None:
        self._journal, self._observer = journal, observer

    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        self._journal.note_cycle(at=at, error=error)

    def note_blocked(self, error: FatalError | None) -> None:
        self._observer.set_blocked(is_blocked=error is not None, code=error.code if error else "")
        self._journal.note_blocked(error)


class Observers(Observer):
    """Several observers that are told the same. Thread-safe if they are."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def start_at(self, live: Span | None) -> None:
        for each in self._observers:
            each.start_at(live)

    def note_time(self, served_at: datetime) -> None:
        for each in self._observers:
            each.note_time(served_at)

    def count_fetched(self, page: Page) -> None:
        for each in self._observers:
            each.count_fetched(page)

    def count_settled(self, forwarded: Forwarded) -> None:
        for each in self._observers:
            each.count_settled(forwarded)

    def count_acknowledged(self, batch: Batch) -> None:
        for each in self._observers:
            each.count_acknowledged(batch)

    def requests_to(self, service: str) -> RequestObserver:
        told = [each.requests_to(service) for each in self._observers]

        def observe(path: str, status: int | None, seconds: float) -> None:
            for tell in told:
                tell(path, status, seconds)

        return observe

    def set_rate_limit(self, endpoint: str, *, limit: int, remaining: int) -> None:
        for each in self._observers:
            each.set_rate_limit(endpoint, limit=limit, remaining=remaining)

    def add_wait(self, endpoint: str, seconds: float) -> None:
        for each in self._observers:
            each.add_wait(endpoint, seconds)

    def watch_backlog(self, look: Callable[[], Backlog]) -> None:
        for each in self._observers:
            each.watch_backlog(look)

    def set_blocked(self, *, is_blocked: bool, code: str = "") -> None:
        for each in self._observers:
            each.set_blocked(is_blocked=is_blocked, code=code)

    def set_retention(self, retention: timedelta) -> None:
        for each in self._observers:
            each.set_retention(retention)

    def set_confirmed(self, confirmed_at: datetime | None) -> None:
        for each in self._observers:
            each.set_confirmed(confirmed_at)

    def set_segment_counts(self, counts: SegmentCounts) -> None:
        for each in self._observers:
            each.set_segment_counts(counts)

    def count_failed_look(self) -> None:
        for each in self._observers:
            each.count_failed_look()
