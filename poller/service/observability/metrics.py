"""The declarations of all metrics. Each metric is declared once, with its labels and help text.

The meter makes the counters, gauges and histograms from these declarations. The reference page of
the metrics is made from them too.
"""

from dataclasses import dataclass
from typing import Literal

PREFIX = "auth0_segment_poller_"

Kind = Literal["counter", "gauge", "histogram"]

_AGES_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 21_600, 86_400)
_LATENCIES_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Prometheus scrapes a histogram as `_bucket`, `_sum` and `_count`."""

    kind: Kind
    short_name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """The upper bounds of a histogram, in ascending order, without the infinite one."""

    @property
    def name(self) -> str:
        """The name that Prometheus sees."""
        return PREFIX + self.short_name


METRICS = (
    Metric(
        "counter",
        "events_read_total",
        "Log events that were read. It is always the sum of the next four metrics.",
        ("type",),
    ),
    Metric(
        "counter",
        "events_forwarded_total",
        "Log events that Segment has acknowledged.",
        ("type",),
    ),
    Metric(
        "counter",
        "events_filtered_total",
        "Log events that are not logins or signups, or that the settings leave out.",
        ("type",),
    ),
    Metric(
        "counter",
        "events_dead_lettered_total",
        "Log events that were kept as dead letters.",
        ("type",),
    ),
    Metric(
        "gauge",
        "events_in_hand",
        "Log events that were read and are not settled yet, which is one page at most.",
    ),
    Metric(
        "counter",
        "messages_acknowledged_total",
        "Messages that Segment acknowledged. A message that was sent twice counts twice.",
        ("kind",),
    ),
    Metric(
        "counter",
        "requests_total",
        "Requests by outcome: ok, refused, rate_limited, failed, unanswered.",
        ("service", "call", "outcome"),
    ),
    Metric(
        "histogram",
        "request_duration_seconds",
        "Time from the start of a request to its end.",
        ("service", "call", "outcome"),
        _LATENCIES_S,
    ),
    Metric(
        "gauge",
        "rate_limit_requests",
        "The rate limit of the tenant, from the headers of the last answer.",
        ("endpoint",),
    ),
    Metric(
        "gauge",
        "rate_limit_remaining_requests",
        "The requests that the rate limit has left, after the use by all applications.",
        ("endpoint",),
    ),
    Metric(
        "counter",
        "rate_limit_wait_seconds_total",
        "Time spent waiting for the rate limit.",
        ("endpoint",),
    ),
    Metric(
        "gauge",
        "lag_seconds",
        "Time since the whole log was settled, by event time. A backlog counts. Without a backlog "
        "it is the same as the freshness. It stays small on a quiet tenant.",
    ),
    Metric(
        "gauge",
        "freshness_seconds",
        "Time since all new events were settled, by event time. A backlog does not count. It stays "
        "small on a quiet tenant.",
    ),
    Metric(
        "histogram",
        "event_age_seconds",
        "Time from the date of a forwarded event to its settlement. The events of a backlog are "
        "left out.",
        buckets=_AGES_S,
    ),
    Metric(
        "gauge",
        "backlog_seconds",
        "Time of the log that a catch-up still has to read. It is 0 without a backlog.",
    ),
    Metric(
        "gauge",
        "backlog_pages",
        "Pages of the log that a catch-up still has to read, estimated from the pages so far. It "
        "is 0 without a backlog, and until the first page.",
    ),
    Metric(
        "gauge",
        "catch_up_slices",
        "Slices of a catch-up that are not finished. It is 0 without a backlog.",
    ),
    Metric(
        "histogram",
        "indexing_delay_seconds",
        "Time from the date of an event to its arrival in the log, by its log id.",
        buckets=_AGES_S,
    ),
    Metric(
        "gauge",
        "position_age_seconds",
        "Age of the position, or of the lowest position of a catch-up. The log before it is "
        "settled.",
    ),
    Metric(
        "gauge",
        "retention_seconds",
        "Age of the oldest event in the log. It is absent until the log was asked for it.",
    ),
    Metric(
        "gauge",
        "second_reading_lag_seconds",
        "Age of the log up to which late events were looked for. It is 0 if nothing is left to do.",
    ),
    Metric(
        "counter",
        "gaps_total",
        "Parts of the log that retention removed before they were read.",
    ),
    Metric(
        "gauge",
        "last_success_timestamp_seconds",
        "Time at which a page was last settled, an empty page included. It is 0 for never.",
    ),
    Metric(
        "gauge",
        "blocked",
        "1 while the daemon cannot go on until somebody acts.",
    ),
    Metric(
        "gauge",
        "failed",
        "1 while a pipeline of a folder cannot be opened. It is absent for a settings file alone.",
    ),
    Metric(
        "gauge",
        "segment_acknowledged_messages",
        "Messages of the last 24 final hours that Segment acknowledged, each counted once.",
    ),
    Metric(
        "gauge",
        "segment_received_messages",
        "Messages of these hours that Segment received, by its own counts.",
    ),
    Metric(
        "gauge",
        "segment_failed_on_ingest_messages",
        "Messages of these hours that Segment acknowledged and then refused, by its reason.",
        ("reason",),
    ),
    Metric(
        "gauge",
        "segment_filtered_messages",
        "Messages of these hours that the source filtered, by Segment's reason.",
        ("reason",),
    ),
    Metric(
        "gauge",
        "segment_missing_messages",
        "Messages of these hours that Segment acknowledged and does not pass on.",
    ),
    Metric(
        "gauge",
        "segment_look_timestamp_seconds",
        "Time of the last look at Segment's counts. It is absent until the first look.",
    ),
    Metric(
        "counter",
        "segment_looks_failed_total",
        "Looks at Segment's counts that failed. The next look is an hour later.",
    ),
    Metric(
        "gauge",
        "build_info",
        "Always 1. The label holds the version.",
        ("version",),
    ),
)
