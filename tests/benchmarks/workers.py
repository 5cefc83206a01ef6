"""The pages a second of one, two and four workers, each with one pipeline at a time."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.databases import server
from tests.benchmarks.figure import Figure
from tests.benchmarks.many import cpu_s, write
from tests.postgres.cluster import PASSWORD, USER, Cluster
from tests.process.bench import SandboxProcess, eventually

_LATENCY_S = 0.1
_PAGES = 100
"""The pages of each pipeline that are timed."""
_FIRST_PAGES = 5
"""The pages of each pipeline before them."""
_COUNTS = (1, 2, 4)
_RUN = """
import sys
from poller.__main__ import main
from poller.adapters.shift_queue import queue
queue.SHIFT_S = 3.0
sys.argv[1:] = ["worker", "--config", sys.argv[1]]
main()
"""
"""A worker that soon gives back what is more than its share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """The pages a second of all workers, and the part of a core that they used."""

    pages: float
    cores: float


def doubled(folder: Path) -> Iterator[Figure]:
    """Measure drains of as many tenants as there are workers, with answers that take 100 ms."""
    with server() as cluster:
        speeds = {count: _speed(folder / str(count), cluster, count) for count in _COUNTS}
    for count in _COUNTS[1:]:
        now, before = speeds[count], speeds[count // 2]
        yield Figure(
            name=f"pages a second of {count} workers, over those of {count // 2}",
            value=now.pages / before.pages,
            bound=1.8,
            is_at="least",
            note=f"{now.pages:.1f} and {before.pages:.1f} pages/s, the workers used "
            f"{now.cores:.2f} and {before.cores:.2f} cores",
        )


def _speed(folder: Path, cluster: Cluster, count: int) -> Speed:
    """Let each worker have one tenant, and then let each tenant have events."""
    folder.mkdir()
    with cluster.database() as database, ExitStack() as stack:
        tenants = [SandboxProcess(seed=number, plan="unlimited") for number in range(count)]
        for number, tenant in enumerate(tenants):
            stack.callback(tenant.close)
            write(folder / "many", f"p{number}", tenant, folder)
        _share_ledger(folder / "many", cluster, database)
        logs = [folder / f"{number}.log" for number in range(count)]
        workers = [stack.enter_context(_worker(folder / "many", log)) for log in logs]
        eventually("one each", lambda: all(_held(log) == 1 for log in logs))
        for tenant in tenants:
            tenant.ask("latency", auth0=_LATENCY_S, segment=_LATENCY_S)
            tenant.ask("grow", count=100 * (_FIRST_PAGES + _PAGES), seconds=0)
        eventually("pages of each", lambda: all(_pages(log) >= _FIRST_PAGES for log in logs))
        pages, used_s, at = _seen(logs, workers)
        whole = count * (_FIRST_PAGES + _PAGES)
        eventually("nearly all pages", lambda: sum(map(_pages, logs)) > 0.9 * whole)
        pages_after, used_after_s, ended_at = _seen(logs, workers)
        seconds = ended_at - at
        return Speed(pages=(pages_after - pages) / seconds, cores=(used_after_s - used_s) / seconds)


def _seen(logs: list[Path], workers: list[subprocess.Popen[bytes]]) -> tuple[int, float, float]:
    used_s = sum(cpu_s(each.pid) for each in workers)
    return sum(map(_pages, logs)), used_s, time.monotonic()


def _share_ledger(folder: Path, cluster: Cluster, database: str) -> None:
    for file in folder.glob("p*.toml"):
        file.write_text(file.read_text().split("[state]")[0])
    (folder / "_defaults.toml").write_text(
        '[poll]\ninterval = "1s"\ncatch_up = "off"\n[log]\nlevel = "debug"\n'
        f'[state]\nurl = "postgresql+psycopg://{USER}@127.0.0.1:{cluster.port}/{database}"\n'
        f'folder = "{folder.parent}/local"\n'
    )


@contextmanager
def _worker(folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("w") as err:
        command = [sys.executable, "-c", _RUN, str(folder)]
        environ = os.environ | {"POLLER_STATE__PASSWORD": PASSWORD}
        process = subprocess.Popen(command, stderr=err, env=environ)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _pages(log: Path) -> int:
    """Return how many full pages were settled."""
    return log.read_text().count('"read": 100, "pipeline"')


def _held(log: Path) -> int:
    text = log.read_text()
    return text.count('"pipeline.opened"') - text.count('"pipeline.removed"')
