"""The counts that a simulated source keeps of what arrived, by the hour of the arrival."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from poller.sandbox.auth0.entries import iso
from poller.sandbox.segment.collector import Arrival, Collector

FILTERED = {
    "event_setting",
    "schema_violation",
    "common_schema_violation",
    "unplanned",
    "unplanned_and_schema_violation",
}
"""The reasons of messages that are filtered at the source. With any other, a message fails."""
_IN_NO_FIGURE = {"dropped", "suppressed", "wrong_region"}
"""The fates that no count tells. A message under another key is another source's."""
_FIELDS = {"eventName": "event", "eventType": "type", "discardReason": "fate"}


class SourceCounter:
    """Counts the arrivals of one source. Tests and the control API change the fields.

    Segment does not say how it counts, so that each way can be simulated. `counts_repeats` says
    that a repeated message id counts again. `received_has_filtered` says that what is filtered at
    the source counts as received before. A message is counted `lag` after its arrival.
    `has_delivery_overview` is false for a workspace that has only the older counts.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self.counts_repeats = True
        self.received_has_filtered = True
        self.has_delivery_overview = True
        self.lag = timedelta(seconds=30)

    @property
    def suppressed_users(self) -> set[str]:
        """The users whose messages vanish."""
        return self._collector.suppressed_users

    def dataset(
        self, path: str, group_by: Sequence[str], begin: datetime, end: datetime
    ) -> list[dict[str, Any]]:
        """Return the counts of a path by hour, in the form of the Public API.

        A total and a count are texts, since both are bigints.
        """
        found: dict[tuple[str, ...], dict[datetime, int]] = defaultdict(lambda: defaultdict(int))
        for arrival in self._counted(path):
            if begin <= arrival.at < end:
                group = tuple(str(getattr(arrival, _FIELDS[name])) for name in group_by)
                hour = arrival.at.replace(minute=0, second=0, microsecond=0)
                found[group][hour] += 1
        return [
            {name: value for name, value in zip(group_by, group, strict=True) if value}
            | {
                "total": str(sum(hours.values())),
                "series": [
                    {"time": iso(hour), "count": str(count)}
                    for hour, count in sorted(hours.items())
                ],
            }
            for group, hours in sorted(found.items())
        ]

    def _counted(self, path: str) -> Iterator[Arrival]:
        """Yield the arrivals that count for a path, in order of arrival."""
        counted_to = self._collector.clock.now() - self.lag
        seen: set[tuple[str, str]] = set()
        for arrival in tuple(self._collector.arrivals):
            if arrival.at > counted_to or arrival.fate in _IN_NO_FIGURE:
                continue
            if _path_of(arrival) != path and not self._counts_as_received(arrival, path):
                continue
            repeated = (arrival.message_id, arrival.fate)
            is_repeat = arrival.fate == "duplicate" or (
                arrival.fate != "published" and repeated in seen
            )
            if is_repeat and not self.counts_repeats:
                continue
            seen.add(repeated)
            yield arrival

    def _counts_as_received(self, arrival: Arrival, path: str) -> bool:
        is_filtered = arrival.fate in FILTERED
        return path == "successfully-received" and is_filtered and self.received_has_filtered


def _path_of(arrival: Arrival) -> str:
    if arrival.fate in {"published", "duplicate"}:
        return "successfully-received"
    if arrival.fate in FILTERED:
        return "filtered-at-source"
    return "failed-on-ingest"
