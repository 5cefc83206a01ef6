"""Counts what the daemon does, for whoever looks; knows nothing of how it is told.

Every change makes a new snapshot and puts it in place of the old one, so that what is read is of one moment.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from poller.core.events import LogEvent
from poller.core.forward import Forwarded
from poller.core.log_ids import moment_of
from poller.core.messages import Batch
from poller.core.pages import Page
from poller.core.settlement import DEAD_LETTERED, FILTERED, FORWARDED
from poller.core.spans import Span
from poller.service.observability.snapshot import (
    LATENCIES_S,
    Counts,
    Distribution,
    Limit,
    Request,
    Snapshot,
)

MOST_TYPES = 100
"""Event types that are told apart; they come from the wire, and each is a series of the scraper's for good."""
OTHER = "other"
"""Every other type, and what could not be read."""
REQUEST_OUTCOMES = ("ok", "refused", "rate_limited", "failed", "unanswered")
KINDS = ("identify", "track", "group")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,49}")
_RATE_LIMITED = 429


class Meter:
    """Thread-safe; nothing it is told makes it raise. `types` are those of interest, always told apart."""

    def __init__(
        self,
        types: Iterable[str] = (),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._types = {*types, OTHER}
        self._monotonic = monotonic
        self._now = now
        self._lock = threading.Lock()
        self._served: tuple[datetime, float] | None = None
        # From zero on, so that the first one is an increase too.
        zero = dict.fromkeys(self._types, 0)
        self._snapshot = Snapshot(
            read=zero,
            forwarded=zero,
            filtered=zero,
            dead_lettered=zero,
            messages=dict.fromkeys(KINDS, 0),
        )

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    def server_now(self) -> datetime:
        """The tenant's time, so that a wrong host clock makes no lag; the host's before the first page."""
        if self._served is None:
            return self._now()
        at, seen = self._served
        return at + timedelta(seconds=self._monotonic() - seen)

    def lag_s(self, snapshot: Snapshot) -> float | None:
        """How long ago everything in the log was settled, in event time; a quiet tenant is not late."""
        return self._since(snapshot.caught_up_at)

    def position_age_s(self, snapshot: Snapshot) -> float | None:
        return self._since(snapshot.position_at)

    def second_reading_lag_s(self, snapshot: Snapshot) -> float:
        """How far the second reading is behind; a window's length where it keeps up."""
        return self._since(snapshot.confirmed_at) or 0.0

    def confirmed(self, confirmed_at: datetime | None) -> None:
        """Up to when the log is confirmed; None: everything that was read is."""
        self._swap(confirmed_at=confirmed_at)

    def begun(self, live: Span | None) -> None:
        """Where the ledger stands at the start."""
        if live is not None:
            at = _position_at(live)
            self._swap(caught_up_at=at, position_at=at)

    def fetched(self, page: Page) -> None:
        """A page of the live span is in hand; one that is read again after a failure counts once."""
        with self._lock:
            self._served = (page.served_at, self._monotonic())
            in_page = Counter(self._label(event) for event in page.events)
            self._swap_locked(read=_at_least(self._snapshot, in_page))

    def settled(self, forwarded: Forwarded) -> None:
        """A page is durable."""
        settlement, page = forwarded.settlement, forwarded.settlement.page
        with self._lock:
            before = self._snapshot
            of = {outcome: Counter[str]() for outcome in (FORWARDED, FILTERED, DEAD_LETTERED)}
            for event, outcome in settlement.outcomes():
                of[outcome][self._label(event)] += 1
            after = replace(
                before,
                forwarded=_plus(before.forwarded, of[FORWARDED]),
                filtered=_plus(before.filtered, of[FILTERED]),
                dead_lettered=_plus(before.dead_lettered, of[DEAD_LETTERED]),
                gaps=before.gaps + (page.lost is not None),
                event_age=before.event_age.adding(self._ages(settlement.forwarded)),
                indexing_delay=before.indexing_delay.adding(_indexing_delays(page.events)),
                succeeded_at=self._now(),
            )
            # What the second walk finds was not told as fetched.
            self._swap_locked(after, read=_at_least(after, {}), **_where(forwarded))

    def acknowledged(self, batch: Batch) -> None:
        """Segment has taken a batch; after a failure it may be the same one again."""
        kinds = Counter(type(message).__name__.lower() for message in batch.messages)
        with self._lock:
            self._swap_locked(messages=_plus(self._snapshot.messages, kinds))

    def requests(
        self, service: str, calls: Mapping[str, str]
    ) -> Callable[[str, int | None, float], None]:
        """To be told of each request to a service: path, status if an answer came, seconds.

        `calls` names them by what their paths begin with; a path itself may hold a user id.
        """
        known = [
            Request(service=service, call=call, outcome=name)
            for call in calls.values()
            for name in REQUEST_OUTCOMES
        ]
        with self._lock:
            none = dict.fromkeys(known, Distribution.empty(LATENCIES_S))
            self._swap_locked(requests={**self._snapshot.requests, **none})

        def told(path: str, status: int | None, seconds: float) -> None:
            call = next((name for prefix, name in calls.items() if path.startswith(prefix)), OTHER)
            self._requested(Request(service=service, call=call, outcome=_outcome(status)), seconds)

        return told

    def limited(self, bucket: str, *, limit: int, remaining: int) -> None:
        """What an answer said of a rate limit."""
        with self._lock:
            seen = Limit(limit=limit, remaining=remaining)
            self._swap_locked(limits={**self._snapshot.limits, bucket: seen})

    def waited(self, bucket: str, seconds: float) -> None:
        """A request had to wait for the rate limit; zero counts too."""
        with self._lock:
            before = self._snapshot.waited_s
            self._swap_locked(waited_s={**before, bucket: before.get(bucket, 0.0) + seconds})

    def blocked(self, *, is_blocked: bool) -> None:
        self._swap(is_blocked=is_blocked)

    def measured(self, retention: timedelta) -> None:
        """How far back the tenant's log goes."""
        self._swap(retention_s=retention.total_seconds())

    def _requested(self, request: Request, seconds: float) -> None:
        with self._lock:
            before = self._snapshot.requests
            took = before.get(request, Distribution.empty(LATENCIES_S)).adding([seconds])
            self._swap_locked(requests={**before, request: took})

    def _swap(self, **changes: Any) -> None:
        with self._lock:
            self._swap_locked(**changes)

    def _swap_locked(self, base: Snapshot | None = None, **changes: Any) -> None:
        self._snapshot = replace(base or self._snapshot, **changes)

    def _label(self, event: LogEvent) -> str:
        if event.type not in self._types:
            if len(self._types) >= MOST_TYPES or not _CODE.fullmatch(event.type):
                return OTHER
            self._types.add(event.type)
        return event.type

    def _ages(self, events: Iterable[LogEvent]) -> list[float]:
        now = self.server_now()
        return [(now - event.date).total_seconds() for event in events if event.date is not None]

    def _since(self, moment: datetime | None) -> float | None:
        return None if moment is None else max((self.server_now() - moment).total_seconds(), 0.0)


def _at_least(snapshot: Snapshot, in_hand: Mapping[str, int]) -> Counts:
    """The events read by type, if all that is settled was, and these besides.

    Never less than before: where a page comes back shorter than it was, the rest stays in hand until others take its
    place.
    """
    names = {
        *snapshot.read,
        *snapshot.forwarded,
        *snapshot.filtered,
        *snapshot.dead_lettered,
        *in_hand,
    }
    return {
        name: max(snapshot.read.get(name, 0), snapshot.settled(name) + in_hand.get(name, 0))
        for name in names
    }


def _plus(counts: Counts, more: Mapping[str, int]) -> Counts:
    return {name: counts.get(name, 0) + more.get(name, 0) for name in {*counts, *more}}


def _indexing_delays(events: Iterable[LogEvent]) -> list[float]:
    arrivals = ((moment_of(event.log_id), event.date) for event in events)
    return [
        (at - date).total_seconds() for at, date in arrivals if at is not None and date is not None
    ]


def _where(forwarded: Forwarded) -> dict[str, datetime | None]:
    """How far the live span is settled; the second walk moves nothing of it."""
    span, page = forwarded.span, forwarded.settlement.page
    if not isinstance(span, Span) or not span.is_live:
        return {}
    if page.drained_to is not None:
        return {"caught_up_at": page.drained_to, "position_at": page.drained_to}
    position_at = _position_at(span)
    newest = max((event.date for event in page.events if event.date is not None), default=None)
    # An event that is dated after its own arrival shows a wrong clock, and no lead.
    known = [moment for moment in (newest, moment_of(span.reached)) if moment is not None]
    seen = [moment for moment in (min(known, default=None), span.drained_at) if moment is not None]
    return {"caught_up_at": max(seen, default=None), "position_at": position_at}


def _position_at(span: Span) -> datetime | None:
    return max(
        (at for at in (span.drained_at, moment_of(span.reached)) if at is not None), default=None
    )


def _outcome(status: int | None) -> str:
    if status is None:
        return "unanswered"
    if status == _RATE_LIMITED:
        return "rate_limited"
    return {2: "ok", 5: "failed"}.get(status // 100, "refused")
