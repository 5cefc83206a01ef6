"""An estimate of the work of a backfill, from samples of the log at a few places."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from poller.core.events import LogEvent
from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.pages import PAGE_SIZE
from poller.core.spans import LogRange
from poller.service.slices.deferred_identify import USERS_PER_BATCH
from poller.service.upstream.rate_limit import RateLimitStatus

SAMPLES = 6
_EXTRA_REQUESTS_PER_SLICE = 2
"""The last page of a slice is read in part, and its first page needs a proof against retention."""
_SEND_S = 0.1
_SLOW_LATENCY_S = 0.3
"""Twice the time of a request from one continent to the next."""
_USUAL_LIMIT = 10
REFILL_PER_SECOND = {2: 2.0, 10: 100 / 60, 50: 16.0}
"""Requests a second, by the size of the bucket that goes with them.

Source: Auth0 docs, Rate Limit Configurations. For other sizes the refill is not known.
"""

Sampler = Callable[[LogId], Sequence[LogEvent]]
Interest = Callable[[LogEvent], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """About how much there is to do. `duration` is None if nothing tells how long it takes."""

    events: int
    of_interest: int
    requests: int
    duration: timedelta | None


def estimate(
    ranges: Sequence[LogRange],
    sample: Sampler,
    is_of_interest: Interest,
    *,
    parallel: int,
    latency_s: float,
    rate_limit: RateLimitStatus | None,
    messages_per_second: int,
) -> Estimate:
    """Estimate the work on these ranges. Read up to six samples, which cost a request each.

    The slowest of three things decides the duration: reading and sending the pages, the limit on
    messages to Segment, and the refill of Auth0's rate limit.

    Raises:
        TransientError, FatalError: from `sample`.
    """
    total = sum((each.length for each in ranges), timedelta())
    events_per_second, interesting_part = _densities(ranges, sample, is_of_interest)
    events = round(events_per_second * total.total_seconds())
    of_interest = round(events * interesting_part)
    pages = math.ceil(events / PAGE_SIZE)
    users = math.ceil(of_interest / USERS_PER_BATCH)
    requests = pages + _EXTRA_REQUESTS_PER_SLICE * parallel + users
    seconds = [pages * (latency_s + _SEND_S) / parallel]
    if messages_per_second:
        seconds.append(of_interest / messages_per_second)
    is_known = rate_limit is None or requests <= rate_limit.remaining
    if rate_limit is not None and rate_limit.limit in REFILL_PER_SECOND:
        is_known = True
        seconds.append((requests - rate_limit.remaining) / REFILL_PER_SECOND[rate_limit.limit])
    return Estimate(
        events=events,
        of_interest=of_interest,
        requests=requests,
        duration=timedelta(seconds=max(seconds)) if is_known else None,
    )


def parallelism(rate_limit: RateLimitStatus | None, latency_s: float) -> int:
    """Return how many slices at once keep the rate limit busy.

    More slices would only cost more cuts. With a slow connection twice as many are needed.
    """
    limit = rate_limit.limit if rate_limit else _USUAL_LIMIT
    slices = max(2, min(8, math.ceil(0.6 * limit)))
    return 2 * slices if latency_s > _SLOW_LATENCY_S else slices


def _densities(
    ranges: Sequence[LogRange], sample: Sampler, is_of_interest: Interest
) -> tuple[float, float]:
    """Return the events a second, and the part of the events that is of interest."""
    places = [*_places(ranges)]
    if not places:
        return 0.0, 0.0
    with ThreadPoolExecutor(SAMPLES) as pool:
        samples = [*pool.map(lambda place: sample(floor_id(place[0])), places)]
    densities, seen, interesting = [], 0, 0
    for (begin, until), page in zip(places, samples, strict=True):
        events = [event for event in page if event.log_id <= until]
        # A full page ends at its last event. A short one holds all up to the end of the range.
        end = moment_of(events[-1].log_id if len(events) == PAGE_SIZE else until)
        seconds = (end - begin).total_seconds() if end else 0.0
        densities.append(len(events) / seconds if seconds > 0 else 0.0)
        seen += len(events)
        interesting += sum(map(is_of_interest, events))
    return sum(densities) / len(densities), interesting / max(seen, 1)


def _places(ranges: Sequence[LogRange]) -> Iterator[tuple[datetime, LogId]]:
    """Yield moments that are spread evenly over the ranges, each with the end of its range."""
    total = sum((each.length for each in ranges), timedelta())
    offsets = [total * (number / SAMPLES) for number in range(SAMPLES)] if total else []
    before = timedelta()
    for each in ranges:
        begin = moment_of(each.after)
        while begin and offsets and offsets[0] < before + each.length:
            yield begin + (offsets.pop(0) - before), each.until
        before += each.length
