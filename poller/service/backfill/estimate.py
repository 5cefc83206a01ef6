"""How much there is to do, by looking at some places of it."""

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

PROBES = 6
_REQUESTS_A_SLICE = 2  # its last page is read in part, and its first needs a proof
_SEND_S = 0.1
REFILLS = {2: 2.0, 10: 100 / 60, 50: 16.0}
"""Requests a second by the burst that goes with them (Auth0 docs: Rate Limit Configurations); others are not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """About what there is to do; `duration` None where nothing tells."""

    events: int
    of_interest: int
    requests: int
    duration: timedelta | None


def estimate(
    stretches: Sequence[LogRange],
    sample: Callable[[LogId], Sequence[LogEvent]],
    is_of_interest: Callable[[LogEvent], bool],
    *,
    parallel: int,
    latency_s: float,
    reading: RateLimitStatus | None,
    messages_per_second: int,
) -> Estimate:
    """Looks at up to six places; each costs a request.

    Raises:
        TransientError, FatalError: from `sample`.
    """
    total = sum((stretch.length for stretch in stretches), timedelta())
    density, interest = _density(stretches, sample, is_of_interest)
    events = round(density * total.total_seconds())
    of_interest = round(events * interest)
    pages = -(-events // PAGE_SIZE)
    requests = pages + _REQUESTS_A_SLICE * parallel + -(-of_interest // USERS_PER_BATCH)
    waits = [pages * (latency_s + _SEND_S) / parallel]
    if messages_per_second:
        waits.append(of_interest / messages_per_second)
    refill = REFILLS.get(reading.limit) if reading else None
    if reading and refill:
        waits.append((requests - reading.left) / refill)
    duration = (
        timedelta(seconds=max(waits))
        if reading is None or refill or requests <= reading.left
        else None
    )
    return Estimate(events=events, of_interest=of_interest, requests=requests, duration=duration)


def parallelism(reading: RateLimitStatus | None, latency_s: float) -> int:
    """So many slices at once as keep a bucket of this size busy, and no more than are worth their cuts."""
    slow = 2 if latency_s > 0.3 else 1  # noqa: PLR2004 - seconds; twice as far as from one continent to the next
    limit = reading.limit if reading else 10
    return max(2, min(8, math.ceil(0.6 * limit))) * slow


def _density(
    stretches: Sequence[LogRange],
    sample: Callable[[LogId], Sequence[LogEvent]],
    is_of_interest: Callable[[LogEvent], bool],
) -> tuple[float, float]:
    """Events a second, and the part of them that is of interest."""
    densities, seen, interesting = [], 0, 0
    places = [*_places(stretches)]
    with ThreadPoolExecutor(PROBES) as pool:
        samples = [*pool.map(lambda place: sample(floor_id(place[0])), places)]
    for (begin, until), found in zip(places, samples, strict=True):
        events = [event for event in found if event.log_id <= until]
        end = moment_of(events[-1].log_id) if len(events) == PAGE_SIZE else moment_of(until)
        seconds = (end - begin).total_seconds() if end else 0.0
        densities.append(len(events) / seconds if seconds > 0 else 0.0)
        seen += len(events)
        interesting += sum(map(is_of_interest, events))
    return (sum(densities) / len(densities) if densities else 0.0), (
        interesting / seen if seen else 0.0
    )


def _places(stretches: Sequence[LogRange]) -> Iterator[tuple[datetime, LogId]]:
    """Moments spread evenly over the stretches, each with the end of its own."""
    total = sum((stretch.length for stretch in stretches), timedelta())
    if not total:
        return
    wanted = [total * (number / PROBES) for number in range(PROBES)]
    before = timedelta()
    for stretch in stretches:
        begin = moment_of(stretch.after)
        while begin and wanted and wanted[0] < before + stretch.length:
            yield begin + (wanted.pop(0) - before), stretch.until
        before += stretch.length
