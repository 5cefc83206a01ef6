"""Many pipelines in one process: what idle ones cost, and what a busy one takes from the others."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.benchmarks.reference import FETCH_S, SEND_S
from tests.process.bench import COMMAND, SandboxProcess, eventually

INTERVAL_S = 30
_MEASURED_S = 60.0
_LONGEST_S = 900.0
_OTHERS = 10
_SHORT_INTERVAL_S = 5
_EVENTS_PER_S = 5
_ALONE_S = 30.0
_BUSY_PAGES = 600
_TICKS = os.sysconf("SC_CLK_TCK")


def idle(folder: Path) -> Iterator[Figure]:
    """Measure 200 pipelines of a tenant in which nothing happens, against the bounds."""
    cost = _idle(folder, 200)
    yield Figure(
        name="200 idle pipelines at an interval of 30 s, % of a core",
        value=cost.core_percent,
        bound=10.0,
        note=str(cost),
    )
    yield Figure(name="memory of 200 idle pipelines, MB", value=cost.memory_mb, bound=300.0)


def thousand(folder: Path) -> Iterator[Figure]:
    """Measure 1,000 pipelines. Their bounds are five times those of 200."""
    cost = _idle(folder, 1000)
    yield Figure(
        name="1,000 idle pipelines at an interval of 30 s, % of a core",
        value=cost.core_percent,
        bound=50.0,
        note=str(cost),
    )
    yield Figure(name="memory of 1,000 idle pipelines, MB", value=cost.memory_mb, bound=1500.0)


def beside(folder: Path) -> Iterator[Figure]:
    """Measure how late events of ten pipelines are while an eleventh works on a backlog.

    The ten read one tenant, each for a source of its own. The eleventh is added while they run. No
    rate limit slows it down.
    """
    quiet, busy = SandboxProcess(seed=1, plan="unlimited"), SandboxProcess(seed=2, plan="unlimited")
    try:
        for sandbox in (quiet, busy):
            sandbox.ask("latency", auth0=FETCH_S, segment=SEND_S)
        busy.ask("grow", count=100 * _BUSY_PAGES, seconds=86_400)
        for sandbox in (quiet, busy):
            sandbox.ask("tenant", longest_lag=0.01, index_lag=0)
        many = folder / "many"
        for number in range(_OTHERS):
            write(many, f"p{number:04d}", quiet, folder)
        (many / "_defaults.toml").write_text(f'[poll]\ninterval = "{_SHORT_INTERVAL_S}s"\n')
        with running(many, folder / "log") as process:
            eventually("all", lambda: opened(folder / "log") == _OTHERS, _LONGEST_S)
            quiet.ask("traffic", rate=_EVENTS_PER_S)
            alone = _ages(quiet, lambda: time.sleep(_ALONE_S))
            write(many, "busy", busy, folder, '[poll]\nstart = "earliest"\n')
            process.send_signal(signal.SIGHUP)
            eventually("the busy one", lambda: busy.truth()["delivered"] > 0, _LONGEST_S)
            began = time.monotonic()
            beside = _ages(quiet, lambda: eventually("its end", lambda: _is_done(busy), _LONGEST_S))
            seconds = time.monotonic() - began
    finally:
        quiet.close()
        busy.close()
    yield Figure(
        name="age of 99 of 100 events of ten pipelines beside a busy one, in intervals",
        value=_of_99(beside) / _SHORT_INTERVAL_S,
        bound=2.0,
        note=f"{len(beside)} events, the oldest of {beside[-1]:.1f} s; without the busy one "
        f"{_of_99(alone) / _SHORT_INTERVAL_S:.2f}; {_BUSY_PAGES} pages in {seconds:.0f} s",
    )


def _ages(sandbox: SandboxProcess, wait: Callable[[], object]) -> list[float]:
    """Return the ages at their arrival of the events that happen meanwhile, the youngest first."""
    begun = datetime.now(UTC)
    wait()
    ended = datetime.now(UTC)
    time.sleep(2 * _SHORT_INTERVAL_S)  # the last of them arrive
    ages = []
    for arrival in sandbox.ask("messages", count=1_000_000):
        happened = datetime.fromisoformat(arrival["message"]["timestamp"])
        if arrival["type"] == "track" and begun < happened < ended:
            ages.append((datetime.fromisoformat(arrival["at"]) - happened).total_seconds())
    return sorted(ages)


def _of_99(ages: list[float]) -> float:
    return ages[math.ceil(0.99 * len(ages)) - 1]


def _is_done(sandbox: SandboxProcess) -> bool:
    truth = sandbox.truth()
    return bool(truth["delivered"] == truth["expected"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The cost of a process that runs this number of pipelines."""

    pipelines: int
    core_percent: float
    memory_mb: float
    started_s: float
    threads: int
    files: int

    def __str__(self) -> str:
        each_kb = self.memory_mb * 1000 / self.pipelines
        return (
            f"all opened after {self.started_s:.0f} s, {self.memory_mb:.0f} MB or {each_kb:.0f} KB "
            f"each, {self.threads} threads, {self.files} open files"
        )


def _idle(folder: Path, count: int) -> Cost:
    sandbox = SandboxProcess(seed=1, plan="unlimited")
    try:
        for number in range(count):
            write(folder / "many", f"p{number:04d}", sandbox, folder)
        (folder / "many/_defaults.toml").write_text(f'[poll]\ninterval = "{INTERVAL_S}s"\n')
        with running(folder / "many", folder / "log") as process:
            began = time.monotonic()
            eventually("all", lambda: opened(folder / "log") == count, _LONGEST_S)
            started_s = time.monotonic() - began
            time.sleep(2 * INTERVAL_S)  # the first cycles are over
            before, at = cpu_s(process.pid), time.monotonic()
            time.sleep(_MEASURED_S)
            used = (cpu_s(process.pid) - before) / (time.monotonic() - at)
            status = Path(f"/proc/{process.pid}/status").read_text().split()
            return Cost(
                pipelines=count,
                core_percent=100 * used,
                memory_mb=int(status[status.index("VmRSS:") + 1]) / 1000,
                started_s=started_s,
                threads=int(status[status.index("Threads:") + 1]),
                files=len(list(Path(f"/proc/{process.pid}/fd").iterdir())),
            )
    finally:
        sandbox.close()


def write(folder: Path, name: str, sandbox: SandboxProcess, ledgers: Path, more: str = "") -> None:
    """Write the settings of a pipeline with a source and a ledger of its own, and more of them."""
    folder.mkdir(exist_ok=True)
    facts = sandbox.facts
    values = {
        "auth0": {
            "domain": facts["domain"],
            "client_id": facts["client_id"],
            "client_secret": facts["client_secret"],
            "base_url": facts["auth0_url"],
        },
        "segment": {
            "write_key": facts["write_key"],
            "endpoint": facts["segment_url"],
            "source_name": name,
        },
        "state": {"url": f"{ledgers}/ledgers/{name}/ledger.db"},
    }
    lines = [
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        for section, table in values.items()
    ]
    (folder / f"{name}.toml").write_text("".join(lines) + more)


@contextmanager
def running(folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the pipelines of a folder within this context."""
    with log.open("w") as err:
        command = [sys.executable, str(COMMAND), "run", "--config", str(folder)]
        process = subprocess.Popen(command, stderr=err)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def opened(log: Path) -> int:
    """Return how many pipelines have been opened."""
    return log.read_text().count('"pipeline.opened"')


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
