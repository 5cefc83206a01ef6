"""The speed of the daemon: a drain of the live span, and a catch-up beside it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.benchmarks.reference import Requests, reference, requests_of

_RUN = """
import sys
from poller.service.upstream import read_ahead
from poller.__main__ import main
read_ahead.PAGES_AHEAD = {pages_ahead}
sys.argv[1:] = {arguments}
main()
"""


def drain(folder: Path) -> Iterator[Figure]:
    """Measure the gain of reading ahead, without a rate limit that slows either drain down."""
    pages, runs = 60, []
    for pages_ahead in (0, 2):
        part = folder / str(pages_ahead)
        part.mkdir()
        runs.append(_drain(part, pages, pages_ahead))
    plain, ahead = runs
    speed = 100 * pages / ahead.seconds
    yield Figure(
        name="a drain of the live span, times as fast as without reading ahead",
        value=plain.seconds / ahead.seconds,
        bound=2.0,
        is_at="least",
        note=f"{ahead.seconds:.1f} s for {pages} pages, {speed:,.0f} events/s",
    )


def _drain(folder: Path, pages: int, pages_ahead: int) -> Requests:
    with reference(folder, "unlimited", pages=pages, poll__start="earliest") as made:
        arguments = ["run", "--once", "--config", str(made.settings)]
        code = _RUN.format(pages_ahead=pages_ahead, arguments=arguments)
        subprocess.run([sys.executable, "-c", code], check=True)
        return requests_of(made)
