"""The numbers of the page: from the metrics of the daemon, now and over the last hour."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from poller.core.text.dates import iso
from poller.service.observability.meter import Meter
from poller.service.observability.metrics import METRICS

SAMPLE_S = 10.0
"""The time between two samples, in seconds."""
MOST_SAMPLES = 360
"""The number of samples that are kept: an hour."""

_FULL_NAMES = {metric.short_name: metric.name for metric in METRICS}


class Numbers:
    """Reads a meter, and keeps samples of it in memory. Used by one thread at a time."""

    def __init__(
        self, meter: Meter, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._meter = meter
        self._now = now
        self._samples: deque[dict[str, Any]] = deque(maxlen=MOST_SAMPLES)

    def take_sample(self) -> None:
        """Keep the numbers of this moment. The counts are those since the start of the process."""
        self._samples.append(self.sample())

    @property
    def samples(self) -> list[dict[str, Any]]:
        """Return the samples of the last hour, the oldest first."""
        return [*self._samples]

    def sample(self) -> dict[str, Any]:
        """Return the numbers that change over time."""
        ages = self._meter.ages.values()
        rates = {each["endpoint"]: each for each in self.rate_limits()}
        logs = rates.get("logs", {})
        return {
            "at": iso(self._now()),
            **self.events(),
            **{name: _rounded(ages[name]) for name in ("freshness_seconds", "backlog_seconds")},
            "rate_limit": logs.get("limit"),
            "rate_limit_remaining": logs.get("remaining"),
        }

    def events(self) -> dict[str, int]:
        """Return the number of events since the start of the process, by outcome."""
        counts = self._meter.events
        return {
            "read": sum(counts.read.values()),
            "forwarded": sum(counts.forwarded.values()),
            "filtered": sum(counts.filtered.values()),
            "dead_lettered": sum(counts.dead_lettered.values()),
        }

    def now(self) -> dict[str, Any]:
        """Return the numbers of this moment. None stands for a number that is not known."""
        return {
            "events": self.events(),
            "ages": {name: _rounded(age) for name, age in self._meter.ages.values().items()},
            "messages": [
                {"kind": labels["kind"], "count": int(value)}
                for labels, value in self._values("messages_acknowledged_total")
            ],
            "rate_limits": self.rate_limits(),
            "requests": [
                {**labels, "count": int(value)} for labels, value in self._values("requests_total")
            ],
            "segment": self._segment(),
        }

    def rate_limits(self) -> list[dict[str, Any]]:
        """Return the limit of each endpoint, and the requests that are left."""
        left = {
            labels["endpoint"]: value
            for labels, value in self._values("rate_limit_remaining_requests")
        }
        return [
            {
                "endpoint": labels["endpoint"],
                "limit": int(value),
                "remaining": int(left.get(labels["endpoint"], 0)),
            }
            for labels, value in self._values("rate_limit_requests")
        ]

    def _segment(self) -> dict[str, Any] | None:
        """Return the last look at Segment's own counts, over 24 hours, or None without one."""
        counts = self._meter.segment_counts
        if counts is None:
            return None
        return {
            "at": iso(counts.at),
            "acknowledged": counts.acknowledged,
            "received": counts.received,
            "missing": counts.missing,
            "failed": dict(counts.failed),
            "filtered": dict(counts.filtered),
        }

    def _values(self, name: str) -> Iterable[tuple[Mapping[str, str], float]]:
        """Return the labels and the value of each series of a metric."""
        full = _FULL_NAMES[name]
        names = {full, full.removesuffix("_total")}
        registry = self._meter.registry.restricted_registry(names)
        return [
            (sample.labels, sample.value)
            for family in registry.collect()
            for sample in family.samples
            if sample.name == full
        ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
