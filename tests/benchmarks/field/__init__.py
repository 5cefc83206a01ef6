"""The comparison with Auth0's own extension, by the library and the way in which it sends."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.benchmarks.reference import backfill, reference

_HERE = Path(__file__).parent
_EVENTS = 30


def against_the_extension(folder: Path) -> Iterator[Figure]:
    """Measure the speed against that of Auth0's extension, which needs node.

    Return no figure without node and `npm install --prefix tests/benchmarks/field`.
    """
    node = shutil.which("node")
    if node is None or not (_HERE / "node_modules/analytics-node").is_dir():
        return
    with reference(folder, "enterprise", pages=100) as made:
        run = backfill(made)
        facts = made.sandbox.facts
        command = [
            node,
            str(_HERE / "send.js"),
            facts["segment_url"],
            facts["write_key"],
            str(_EVENTS),
        ]
        took_s = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    ours, theirs = run.summary["forwarded"] / run.seconds, _EVENTS / took_s
    yield Figure(
        name="logins and signups a second, over those of Auth0's extension",
        value=ours / theirs,
        bound=100,
        is_at="least",
        note=f"{ours:,.0f} at 16 requests/s; {theirs:.1f}: {_EVENTS} events in {took_s:.1f} s",
    )
