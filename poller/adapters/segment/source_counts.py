"""The counts of a Segment source by hour: received, failed on ingest, filtered at the source.

All paths, fields and limits are from Segment's Public API documentation and its generated models
(segmentio/public-api-sdk-python at 73.2.0). Delivery Overview is in beta. Where it is refused, or
does not exist, Events Volume tells at least what was received.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from poller.adapters.segment.public_api import (
    AccessDeniedError,
    PublicApi,
    UnknownPathError,
)
from poller.adapters.segment.verdicts import SERVICE
from poller.core.counts import SourceCounts, SourceKey, beginning_of_hour
from poller.core.errors import UnusableAnswerError
from poller.core.text.dates import iso

KEPT = timedelta(days=30)
"""The age of the oldest hour that Delivery Overview tells."""
LONGEST_WINDOW = timedelta(days=14)
"""The longest time that one request by the hour may ask for."""
LAG = timedelta(minutes=1)
"""Segment asks to keep this distance from its clock (Events Volume)."""
_HOUR = timedelta(hours=1)
_RECEIVED, _FAILED, _FILTERED = "successfully-received", "failed-on-ingest", "filtered-at-source"


def read_source_counts(
    api: PublicApi, source_id: str, since: datetime, now: datetime
) -> SourceCounts:
    """Return the counts of the source since the hour of `since`, up to a minute before `now`.

    `now` is Segment's time. Hours that Segment no longer tells are left out.

    Raises:
        AccessDeniedError, RequestRefusedError, TransientError: as the methods of `PublicApi`.
    """
    oldest = beginning_of_hour(now - KEPT) + _HOUR
    begin, end = max(beginning_of_hour(since), oldest), now - LAG
    windows = list(_windows(begin, end))
    try:
        received, failed, filtered = (
            _counted(
                row
                for window in windows
                for row in api.delivery(source_id, path, *window, with_reasons=path != _RECEIVED)
            )
            for path in (_RECEIVED, _FAILED, _FILTERED)
        )
    except (AccessDeniedError, UnknownPathError):
        volume = [row for window in windows for row in api.volume(source_id, *window)]
        return SourceCounts(since=begin, received=_counted(volume), has_reasons=False)
    return SourceCounts(since=begin, received=received, failed=failed, filtered=filtered)


def _windows(begin: datetime, end: datetime) -> Iterator[tuple[str, str]]:
    """Yield the beginning and the end of each request. The end is exclusive."""
    while begin < end:
        last = min(begin + LONGEST_WINDOW, end)
        yield iso(begin), iso(last)
        begin = last


def _counted(rows: Iterable[Mapping[str, Any]]) -> Counter[SourceKey]:
    found: Counter[SourceKey] = Counter()
    for row in rows:
        kind = _word(row, "eventType").lower()
        event = _word(row, "eventName") if kind in {"", "track"} else ""
        series = row.get("series") or []
        if not isinstance(series, list):
            raise _unreadable("series")
        for point in series:
            key = SourceKey(
                hour=_hour(point), kind=kind, event=event, reason=_word(row, "discardReason")
            )
            found[key] += _count(point)
    return +found


def _word(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _hour(point: object) -> datetime:
    """Return the hour of one point of a series. A time without a zone is in UTC."""
    try:
        moment = datetime.fromisoformat(point["time"])  # type: ignore[index]
    except (KeyError, TypeError, ValueError):
        raise _unreadable("time") from None
    in_utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return beginning_of_hour(in_utc)


def _count(point: Mapping[str, Any]) -> int:
    """Return the count of one point. It is a bigint, which JSON may carry as text."""
    try:
        return int(str(point["count"]))
    except (KeyError, ValueError):
        raise _unreadable("count") from None


def _unreadable(name: str) -> UnusableAnswerError:
    return UnusableAnswerError(f"Segment's API answered a {name} that is none", service=SERVICE)
