"""The speed at the rate limit of a tenant, and without a rate limit."""

from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.benchmarks.reference import FETCH_S, SEND_S, USERS, Run, backfill, reference


def enterprise(folder: Path) -> Iterator[Figure]:
    """Measure with 16 requests a second and a burst of 50, in one bucket for logs and users."""
    pages, burst, per_second = 400, 50, 16.0
    with reference(folder, "enterprise", pages=pages) as made:
        yield from _at_the_limit(
            "16 requests/s, burst 50", backfill(made), pages, burst, per_second
        )


def self_service(folder: Path) -> Iterator[Figure]:
    """Measure with ten times the self-service plans: 1,000 log requests a minute, burst 10."""
    pages, burst, per_second = 200, 10, 1000 / 60
    with reference(folder, "essentials-tenfold", pages=pages) as made:
        yield from _at_the_limit(
            "1,000 requests/min, burst 10", backfill(made), pages, burst, per_second
        )


def parallel(folder: Path) -> Iterator[Figure]:
    """Measure the cost of a page and the gain of eight slices, without a rate limit."""
    pages, runs = 400, []
    for slices in (1, 8):
        part = folder / str(slices)
        part.mkdir()
        with reference(part, "unlimited", pages=pages) as made:
            runs.append(backfill(made, "--parallel", str(slices)))
    one, eight = runs
    wire_s = FETCH_S * one.to_auth0 + SEND_S * one.batches
    yield Figure(
        name="one slice, time over that of its requests",
        value=one.seconds / wire_s,
        bound=1.10,
        note=f"{one.seconds:.1f} s for {pages} pages",
    )
    yield Figure(
        name="8 slices, times as fast as one",
        value=one.seconds / eight.seconds,
        bound=6.5,
        is_at="least",
        note=f"{eight.seconds:.1f} s, {100 * pages / eight.seconds:,.0f} events/s",
    )


def _at_the_limit(
    name: str, run: Run, pages: int, burst: int, per_second: float
) -> Iterator[Figure]:
    floor_s = (run.to_auth0 - burst) / per_second
    yield Figure(
        name=f"{name}: time over the least that the limit allows",
        value=run.seconds / floor_s,
        bound=1.10,
        note=f"{run.seconds:.1f} s, {run.summary['rate_limited']} answers of 429",
    )
    yield Figure(
        name=f"{name}: requests over pages and users",
        value=run.to_auth0 / (1.10 * pages + USERS / 50),
        bound=1.00,
        note=f"{run.logs} for {pages} pages, {run.users} for {run.summary['identified']} users",
    )
