"""Ten times the pages, about the same memory."""

from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.benchmarks.reference import backfill, reference


def over_many_pages(folder: Path) -> Iterator[Figure]:
    """Measure the memory of a backfill of 2,000 pages, above that of 200."""
    peaks = []
    for pages in (200, 2000):
        part = folder / str(pages)
        part.mkdir()
        with reference(part, "unlimited", pages=pages, latency=False) as made:
            peaks.append(backfill(made).peak_mb)
    yield Figure(
        name="memory over 2,000 pages, MB above that over 200",
        value=peaks[1] - peaks[0],
        bound=5.0,
        note=f"{peaks[0]:.1f} and {peaks[1]:.1f} MB at the peak",
    )
