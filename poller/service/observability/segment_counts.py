"""The metrics of Segment's own counts, as the last hourly look found them."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from poller.service.observability.instrumented import SegmentCounts
from poller.service.observability.metrics import METRICS

_DECLARED = {metric.short_name: metric for metric in METRICS}


class SegmentCountsCollector(Collector):
    """The metrics of the last look. They are absent before the first one.

    A scrape sees the counts of one look, because a look replaces all of them at once.
    """

    counts: SegmentCounts | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        counts = self.counts
        yield _total("segment_acknowledged_messages", counts.acknowledged if counts else None)
        yield _total("segment_received_messages", counts.received if counts else None)
        yield _total("segment_missing_messages", counts.missing if counts else None)
        yield _total("segment_look_timestamp_seconds", counts.at.timestamp() if counts else None)
        yield _by_reason("segment_failed_on_ingest_messages", counts.failed if counts else {})
        yield _by_reason("segment_filtered_messages", counts.filtered if counts else {})


def _total(name: str, value: float | None) -> GaugeMetricFamily:
    family = _family(name)
    if value is not None:
        family.add_metric([], value)
    return family


def _by_reason(name: str, counts: Mapping[str, int]) -> GaugeMetricFamily:
    family = _family(name)
    for reason, number in sorted(counts.items()):
        family.add_metric([reason], number)
    return family


def _family(name: str) -> GaugeMetricFamily:
    metric = _DECLARED[name]
    return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
