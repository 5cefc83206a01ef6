"""The feed: the last events that were settled, in memory only."""

import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from poller.core.count_names import DEAD_LETTERED, FILTERED, FORWARDED
from poller.core.events import LogEvent
from poller.core.forward import Forwarded
from poller.core.messages import Message
from poller.core.spans import Inherited, LogCursor, Redelivery, ReopenedGap, Resend, Span
from poller.service.observability.instrumented import Observer

MOST_EVENTS = 1000
"""The number of events that the feed keeps at least, if there were as many."""
_OF_ALL_FEEDS = 20_000
"""The number of events that all feeds of a process keep. An event takes about two kilobytes."""
_LEAST_EVENTS = 100


def events_of_each(feeds: int) -> int:
    """Return how many events each of so many feeds keeps."""
    return min(max(_OF_ALL_FEEDS // max(feeds, 1), _LEAST_EVENTS), MOST_EVENTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledEvent:
    """An event with its outcome, as the feed keeps it.

    Numbers rise by one from event to event, from 1 at the start of the process. `messages` are the
    calls that Segment acknowledged, or would not take. `reason` says why an event was filtered or
    is a dead letter. `age` is the age of the event at its settlement. `worker` names the work that
    settled it: see `worker_of`.
    """

    number: int
    settled_at: datetime
    event: LogEvent = field(repr=False)
    outcome: str
    reason: str | None = None
    status: int | None = None
    messages: tuple[Message, ...] = field(default=(), repr=False)
    age: timedelta | None = None
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _SettledPage:
    """A settled page. Its events are numbered from `first` on."""

    first: int
    size: int
    settled_at: datetime
    forwarded: Forwarded


class Feed(Observer):
    """The last events that were settled. Thread-safe.

    A settled page costs the daemon one entry of a queue. Everything else is done when somebody
    looks, by the thread of whoever looks. Nothing of the feed is ever written to disk.

    `now` is the tenant's time. `run` tells this process from the one before, whose numbers began at
    1 too. The feed keeps `most` events at least, if there were as many.
    """

    def __init__(
        self,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        most: int = MOST_EVENTS,
    ) -> None:
        self.now = now
        self.most = most
        self.run = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._pages: deque[_SettledPage] = deque()
        self._kept = 0
        self._last = 0

    def count_settled(self, forwarded: Forwarded) -> None:
        size = len(forwarded.settlement.page.events)
        if size == 0:
            return
        with self._lock:
            page = _SettledPage(
                first=self._last + 1, size=size, settled_at=self.now(), forwarded=forwarded
            )
            self._pages.append(page)
            self._last += size
            self._kept += size
            while self._kept - self._pages[0].size >= self.most:
                self._kept -= self._pages.popleft().size

    @property
    def last(self) -> int:
        """The number of the newest event, or 0 before the first one."""
        return self._last

    def after(self, number: int, *, most: int = MOST_EVENTS) -> list[SettledEvent]:
        """Return the newest events above this number, the oldest first, and at most so many."""
        with self._lock:
            pages, last = list(self._pages), self._last
        least = max(number, last - most)
        return [
            event
            for page in pages
            if page.first + page.size - 1 > least
            for event in _events(page)
            if event.number > least
        ]

    def event(self, number: int) -> SettledEvent | None:
        """Return the event with this number, or None if the feed has forgotten it."""
        return next(iter(self.after(number - 1)[:1]), None) if self._holds(number) else None

    def _holds(self, number: int) -> bool:
        with self._lock:
            return self._last - min(self._kept, self.most) < number <= self._last


def worker_of(cursor: LogCursor) -> str:
    """Return the work that settles the pages of a cursor.

    - `live`: live polling.
    - `late`: the second reading, which looks for late events.
    - `catch_up`: the work on a backlog.
    - `gap`: a gap that can be read after all.
    - `resend`: a part that is sent again on purpose.
    - `backfill`: a slice of a backfill.
    """
    match cursor:
        case Span(is_live=True):
            return "live"
        case Span(is_catch_up=True) | Inherited():
            return "catch_up"
        case Span():
            return "backfill"
        case ReopenedGap():
            return "gap"
        case Resend() | Redelivery():
            return "resend"
        case _:
            return "late"


def _events(page: _SettledPage) -> Iterator[SettledEvent]:
    """Yield the events of a page in the order of their log ids."""
    outcomes = sorted(_outcomes(page.forwarded), key=lambda each: each.log_id)
    worker = worker_of(page.forwarded.cursor)
    for number, each in enumerate(outcomes, page.first):
        date = each.event.date
        yield SettledEvent(
            number=number,
            settled_at=page.settled_at,
            event=each.event,
            outcome=each.outcome,
            reason=each.reason,
            status=each.status,
            messages=each.messages,
            age=None if date is None else max(page.settled_at - date, timedelta()),
            worker=worker,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    event: LogEvent
    outcome: str
    reason: str | None = None
    status: int | None = None
    messages: tuple[Message, ...] = ()

    @property
    def log_id(self) -> str:
        return self.event.log_id


def _outcomes(forwarded: Forwarded) -> Iterator[_Outcome]:
    calls, settlement = forwarded.calls, forwarded.settlement
    messages = {entry.event.log_id: entry.messages for entry in calls.forwardable}
    for event in settlement.forwarded:
        yield _Outcome(event=event, outcome=FORWARDED, messages=messages.get(event.log_id, ()))
    for entry in calls.filtered:
        yield _Outcome(event=entry.event, outcome=FILTERED, reason=entry.reason)
    for letter in settlement.dead_letters:
        yield _Outcome(
            event=letter.event,
            outcome=DEAD_LETTERED,
            reason=letter.reason,
            status=letter.status,
            messages=messages.get(letter.event.log_id, ()),
        )
