"""The meter, which counts the work of the daemon for Prometheus.

All metrics belong to one registry of prometheus-client. Most of them are the library's own
counters, gauges and histograms. A collector of our own provides two groups that these cannot:

- The counts of events, which must fit together at every scrape (see `event_counts`).
- The ages, such as the freshness (see `ages`). They grow while nothing happens, so they are
  computed at the scrape, and they are absent until something is known.
"""

import collections
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from poller.core.count_names import DEAD_LETTERED, FILTERED, FORWARDED
from poller.core.events import LogEvent
from poller.core.forward import Forwarded
from poller.core.log_ids import moment_of
from poller.core.messages import Batch
from poller.core.pages import Page
from poller.core.spans import LogCursor, Span
from poller.service.lifecycle.backlog import Backlog
from poller.service.observability.ages import LogAges
from poller.service.observability.event_counts import EventCounts
from poller.service.observability.instrumented import (
    NO_OBSERVER,
    Observer,
    RequestObserver,
    SegmentCounts,
)
from poller.service.observability.metrics import METRICS, Metric
from poller.service.observability.segment_counts import SegmentCountsCollector

MOST_TYPES = 100
"""The number of event types that are counted one by one.

Types come from the wire, and Prometheus keeps a series for each of them.
"""
OTHER = "other"
"""The label of every other event type, and of every call that has no name."""
REQUEST_OUTCOMES = ("ok", "refused", "rate_limited", "failed", "unanswered")
_CALLS = {
    "auth0": {"/api/v2/logs": "logs", "/api/v2/users": "users", "/oauth/token": "token"},
    "segment": {"/v1/batch": "batch"},
}
"""The calls of each service that are counted apart, by the beginning of their path.

No label is made from the path itself, because a path may hold a user id.
"""
MESSAGE_KINDS = ("identify", "track", "group")
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,49}")
_RATE_LIMITED = 429
_DECLARED = {metric.short_name: metric for metric in METRICS}

_M = TypeVar("_M", Counter, Gauge, Histogram)

# The library adds a `_created` series to each counter and histogram. They would double the number
# of series, and no panel or rule uses them. The switch is global, and this is its only user.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # it has no types


class Meter(Observer):
    """The counters of one daemon. Thread-safe. No method raises.

    `types` are the event types of interest. Each of them always has its own count. The `feed` is
    told of each settled page too. Without a `version` the metrics of the process are left out.
    """

    feed: Observer = NO_OBSERVER

    def __init__(
        self,
        types: Iterable[str] = (),
        *,
        version: str | None = "",
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.registry = CollectorRegistry()
        self.is_blocked = False
        self.events = EventCounts.zero({*types, OTHER})
        self._types = {*types, OTHER}
        self.ages = LogAges(monotonic, now)
        self._now = now
        self._lock = threading.Lock()
        self._make_metrics(version)

    def _make_metrics(self, version: str | None) -> None:
        self.registry.register(_EventsAndAges(self))
        self._messages = self._declared(Counter, "messages_acknowledged_total")
        self._requests = self._declared(Counter, "requests_total")
        self._durations = self._declared(Histogram, "request_duration_seconds")
        self._limits = self._declared(Gauge, "rate_limit_requests")
        self._remaining = self._declared(Gauge, "rate_limit_remaining_requests")
        self._waits = self._declared(Counter, "rate_limit_wait_seconds_total")
        self._event_ages = self._declared(Histogram, "event_age_seconds")
        self._indexing_delays = self._declared(Histogram, "indexing_delay_seconds")
        self._gaps = self._declared(Counter, "gaps_total")
        self._last_success = self._declared(Gauge, "last_success_timestamp_seconds")
        self._blocked = self._declared(Gauge, "blocked")
        self._segment = SegmentCountsCollector()
        self.registry.register(self._segment)
        self._failed_looks = self._declared(Counter, "segment_looks_failed_total")
        if version is not None:
            add_process(self.registry, version)
        for kind in MESSAGE_KINDS:
            self._messages.labels(kind)

    def _declared(self, kind: type[_M], name: str) -> _M:
        return _declared(kind, name, self.registry)

    def start_at(self, live: Span | None) -> None:
        if live is not None:
            self.ages.start_at(live)

    def note_time(self, served_at: datetime) -> None:
        self.ages.note_time(served_at)

    def count_fetched(self, page: Page) -> None:
        with self._lock:
            self.events = self.events.after_fetch(
                collections.Counter(map(self._type_label, page.events))
            )

    def count_settled(self, forwarded: Forwarded) -> None:
        settlement, page = forwarded.settlement, forwarded.settlement.page
        outcomes = {
            name: collections.Counter[str]() for name in (FORWARDED, FILTERED, DEAD_LETTERED)
        }
        with self._lock:
            for event, outcome in settlement.by_event():
                outcomes[outcome][self._type_label(event)] += 1
            self.events = self.events.after_settle(
                forwarded=outcomes[FORWARDED],
                filtered=outcomes[FILTERED],
                dead_lettered=outcomes[DEAD_LETTERED],
                was_in_hand=_is_live(forwarded.cursor),
            )
        self.ages.move(forwarded)
        self.feed.count_settled(forwarded)
        if page.lost is not None:
            self._gaps.inc()
        self._last_success.set(self._now().timestamp())
        now = self.ages.server_now()
        if not _is_of_backlog(forwarded.cursor):
            _observe(self._event_ages, ((now, event.date) for event in settlement.forwarded))
        arrivals = ((moment_of(event.log_id), event.date) for event in page.events)
        _observe(self._indexing_delays, arrivals)

    def count_acknowledged(self, batch: Batch) -> None:
        for message in batch.messages:
            self._messages.labels(type(message).__name__.lower()).inc()

    def requests_to(self, service: str) -> RequestObserver:
        calls = _CALLS[service]
        for call in calls.values():
            for outcome in REQUEST_OUTCOMES:
                self._requests.labels(service, call, outcome)

        def observe(path: str, status: int | None, seconds: float) -> None:
            call = next((name for prefix, name in calls.items() if path.startswith(prefix)), OTHER)
            labels = (service, call, _outcome(status))
            self._requests.labels(*labels).inc()
            self._durations.labels(*labels).observe(seconds)

        return observe

    def set_rate_limit(self, endpoint: str, *, limit: int, remaining: int) -> None:
        self._limits.labels(endpoint).set(limit)
        self._remaining.labels(endpoint).set(remaining)

    def add_wait(self, endpoint: str, seconds: float) -> None:
        self._waits.labels(endpoint).inc(seconds)

    def watch_backlog(self, look: Callable[[], Backlog]) -> None:
        self.ages.look_at_backlog = look

    def set_blocked(self, *, is_blocked: bool, code: str = "") -> None:
        del code
        self.is_blocked = is_blocked
        self._blocked.set(is_blocked)

    def set_retention(self, retention: timedelta) -> None:
        self.ages.retention = retention

    def set_confirmed(self, confirmed_at: datetime | None) -> None:
        self.ages.confirmed_at = confirmed_at

    def set_segment_counts(self, counts: SegmentCounts) -> None:
        self._segment.counts = counts

    @property
    def segment_counts(self) -> SegmentCounts | None:
        """The last look at Segment's own counts, or None before the first one."""
        return self._segment.counts

    def count_failed_look(self) -> None:
        self._failed_looks.inc()

    def _type_label(self, event: LogEvent) -> str:
        """Return the label of an event's type. The caller holds the lock."""
        if event.type not in self._types:
            if len(self._types) >= MOST_TYPES or not _TYPE.fullmatch(event.type):
                return OTHER
            self._types.add(event.type)
        return event.type


def add_process(registry: CollectorRegistry, version: str) -> None:
    """Add the metrics of this process, which are the same for all of its pipelines."""
    _declared(Gauge, "build_info", registry).labels(version).set(1)
    ProcessCollector(registry=registry)


def _declared(kind: type[_M], name: str, registry: CollectorRegistry) -> _M:
    metric = _DECLARED[name]
    options: dict[str, Any] = {"buckets": metric.buckets} if metric.buckets else {}
    return kind(metric.name, metric.help, metric.labels, registry=registry, **options)


class _EventsAndAges(Collector):
    """The metrics that no object of the library can hold. A scrape takes the counts once."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        events = self._meter.events
        yield _counts(_DECLARED["events_read_total"], events.read)
        yield _counts(_DECLARED["events_forwarded_total"], events.forwarded)
        yield _counts(_DECLARED["events_filtered_total"], events.filtered)
        yield _counts(_DECLARED["events_dead_lettered_total"], events.dead_lettered)
        yield _value(_DECLARED["events_in_hand"], float(events.in_hand))
        for name, value in self._meter.ages.values().items():
            yield _value(_DECLARED[name], value)


def _counts(metric: Metric, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for event_type, count in sorted(counts.items()):
        family.add_metric([event_type], count)
    return family


def _value(metric: Metric, value: float | None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.help)
    if value is not None:
        family.add_metric([], value)
    return family


def _observe(
    histogram: Histogram, intervals: Iterable[tuple[datetime | None, datetime | None]]
) -> None:
    """Observe the seconds from each date to each end. Clocks may disagree, so 0 is the least."""
    for end, begin in intervals:
        if end is not None and begin is not None:
            histogram.observe(max((end - begin).total_seconds(), 0.0))


def _is_live(cursor: LogCursor) -> bool:
    return isinstance(cursor, Span) and cursor.is_live


def _is_of_backlog(cursor: LogCursor) -> bool:
    return isinstance(cursor, Span) and cursor.is_catch_up


def _outcome(status: int | None) -> str:
    if status is None:
        return "unanswered"
    if status == _RATE_LIMITED:
        return "rate_limited"
    return {2: "ok", 5: "failed"}.get(status // 100, "refused")
