"""Every metric, declared once, and the collector that fills them from one snapshot."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from poller.core.text.plain_text import visible
from poller.service.observability.meter import Meter
from poller.service.observability.snapshot import Counts, Distribution, Snapshot

PREFIX = "auth0_segment_poller_"

Samples = Iterable[tuple[tuple[str, ...], float | Distribution]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric as it is scraped; a histogram has `_bucket`, `_sum` and `_count`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


def _metric(
    kind: Literal["counter", "gauge", "histogram"], name: str, text: str, *labels: str
) -> Metric:
    return Metric(name=PREFIX + name, kind=kind, help=text, labels=labels)


METRICS = (
    _metric(
        "counter", "events_read_total", "Log events read; always the sum of the four below.", "type"
    ),
    _metric(
        "counter", "events_forwarded_total", "Log events that Segment has acknowledged.", "type"
    ),
    _metric(
        "counter",
        "events_filtered_total",
        "Log events that are neither login nor signup, or declined.",
        "type",
    ),
    _metric("counter", "events_dead_lettered_total", "Log events kept as dead letters.", "type"),
    _metric("gauge", "events_in_hand", "Log events read and not settled yet: the page at hand."),
    _metric(
        "counter",
        "messages_acknowledged_total",
        "Messages taken by Segment; those sent again too.",
        "kind",
    ),
    _metric(
        "counter",
        "requests_total",
        "Requests by what came of them: ok, refused, rate_limited, failed, unanswered.",
        "service",
        "call",
        "outcome",
    ),
    _metric(
        "histogram",
        "request_duration_seconds",
        "How long requests took to be over.",
        "service",
        "call",
        "outcome",
    ),
    _metric(
        "gauge",
        "rate_limit_requests",
        "The tenant's rate limit, as its headers said last.",
        "bucket",
    ),
    _metric(
        "gauge",
        "rate_limit_remaining_requests",
        "What is left of it, others' use included.",
        "bucket",
    ),
    _metric(
        "counter",
        "rate_limit_wait_seconds_total",
        "Time spent waiting for the rate limit.",
        "bucket",
    ),
    _metric(
        "gauge",
        "lag_seconds",
        "How long ago all of the log was settled, by event time; small while it is quiet.",
    ),
    _metric(
        "histogram",
        "event_age_seconds",
        "From an event's date to its settlement, of those forwarded.",
    ),
    _metric(
        "histogram",
        "indexing_delay_seconds",
        "From an event's date to its arrival in the log, by its log id.",
    ),
    _metric(
        "gauge", "position_age_seconds", "How old the position is; the log before it is settled."
    ),
    _metric(
        "gauge",
        "retention_seconds",
        "How far back the tenant's log goes; absent until it was asked.",
    ),
    _metric(
        "gauge",
        "second_reading_lag_seconds",
        "Age of the log up to which late events were looked for; 0 where nothing is left to look at.",
    ),
    _metric(
        "counter", "gaps_total", "Stretches of the log that retention took before they were read."
    ),
    _metric(
        "gauge",
        "last_success_timestamp_seconds",
        "When a page was last settled, an empty one too; 0 for never.",
    ),
    _metric("gauge", "blocked", "1 while nothing goes on until someone acts."),
    _metric("gauge", "build_info", "Always 1; the version is its label.", "version"),
)


class MeterCollector(Collector):
    """Tells prometheus-client what one snapshot of the meter holds."""

    def __init__(self, meter: Meter, version: str) -> None:
        self._meter = meter
        self._version = version

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]:
        samples = self.samples(self._meter.snapshot)
        for metric in METRICS:
            yield _family(metric, samples[metric.name.removeprefix(PREFIX)])

    def samples(self, snapshot: Snapshot) -> Mapping[str, Samples]:
        """The values of every metric by its name, each with those of its labels."""
        return {
            **_totals(snapshot),
            **_limits(snapshot),
            "lag_seconds": _known(self._meter.lag_s(snapshot)),
            "position_age_seconds": _known(self._meter.position_age_s(snapshot)),
            "retention_seconds": _known(snapshot.retention_s),
            "second_reading_lag_seconds": _known(self._meter.second_reading_lag_s(snapshot)),
            "event_age_seconds": [((), snapshot.event_age)],
            "indexing_delay_seconds": [((), snapshot.indexing_delay)],
            "last_success_timestamp_seconds": _known(
                snapshot.succeeded_at.timestamp() if snapshot.succeeded_at is not None else 0.0
            ),
            "blocked": _known(float(snapshot.is_blocked)),
            "build_info": [((self._version,), 1.0)],
        }


def registry_of(meter: Meter, version: str) -> CollectorRegistry:
    """The meter's metrics, and what the library knows of any process (`process_…`)."""
    registry = CollectorRegistry()
    registry.register(MeterCollector(meter, version))
    ProcessCollector(registry=registry)
    return registry


def _totals(snapshot: Snapshot) -> dict[str, Samples]:
    requests = {(of.service, of.call, of.outcome): took for of, took in snapshot.requests.items()}
    return {
        "events_read_total": _by(snapshot.read),
        "events_forwarded_total": _by(snapshot.forwarded),
        "events_filtered_total": _by(snapshot.filtered),
        "events_dead_lettered_total": _by(snapshot.dead_lettered),
        "events_in_hand": _known(float(snapshot.in_hand)),
        "messages_acknowledged_total": _by(snapshot.messages),
        "gaps_total": _known(float(snapshot.gaps)),
        "requests_total": [(labels, float(took.count)) for labels, took in requests.items()],
        "request_duration_seconds": [
            (labels, took) for labels, took in requests.items() if took.count
        ],
    }


def _limits(snapshot: Snapshot) -> dict[str, Samples]:
    limits = snapshot.limits.items()
    return {
        "rate_limit_requests": [((bucket,), float(seen.limit)) for bucket, seen in limits],
        "rate_limit_remaining_requests": [
            ((bucket,), float(seen.remaining)) for bucket, seen in limits
        ],
        "rate_limit_wait_seconds_total": [
            ((bucket,), seconds) for bucket, seconds in snapshot.waited_s.items()
        ],
    }


def _by(counts: Counts) -> Samples:
    return [((visible(name),), float(count)) for name, count in sorted(counts.items())]


def _known(value: float | None) -> Samples:
    return [] if value is None else [((), value)]


def _family(
    metric: Metric, samples: Samples
) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in samples:
            if isinstance(value, Distribution):
                histogram.add_metric(labels, buckets=_buckets(value), sum_value=value.sum)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        if not isinstance(value, Distribution):
            family.add_metric(labels, value)
    return family


def _buckets(distribution: Distribution) -> list[tuple[str, float]]:
    bounds = (*map(str, distribution.bounds), "+Inf")
    return [
        (bound, float(count)) for bound, count in zip(bounds, distribution.cumulative, strict=True)
    ]
