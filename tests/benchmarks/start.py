"""The CPU time until `status` has shown a ledger, over the times of smaller programs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.events import Stream
from tests.benchmarks.figure import Figure

RUNS = 20
LIBRARIES = "import click, pydantic.fields, pydantic.main, sqlalchemy.dialects.sqlite"
"""The imports that every reader of settings and of a ledger needs."""


def of_status(folder: Path) -> Iterator[Figure]:
    """Measure the CPU time of `status`, over the times of smaller programs.

    The programs run in turn, and their shortest times are compared. CPU time is measured and not
    wall time, so that other work on the machine changes little.
    """
    url = f"sqlite:///{folder / 'ledger.db'}"
    SqlLedger.open(url, Stream(domain="acme.us.auth0.com", source_name="web"), create=True).close()
    # An installed program has its bytecode. Here the first run of each program writes it.
    environ = {
        **{name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        "HOME": str(folder),
        "POLLER_STATE__URL": url,
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
    }
    commands = {
        "empty": [sys.executable, "-c", "pass"],
        "libraries": [sys.executable, "-c", LIBRARIES],
        "status": [sys.executable, "-m", "poller", "status", "--json"],
    }
    times_s: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, command in commands.items():
            times_s[name].append(cpu_time_s(command, environ))
    empty_s, libraries_s, status_s = (min(times) for times in times_s.values())
    yield Figure(
        name="CPU time of `status`, over that of `python -c pass`",
        value=status_s / empty_s,
        bound=16.0,
        note=f"{status_s * 1000:.0f} and {empty_s * 1000:.0f} ms",
    )
    yield Figure(
        name="CPU time of `status`, over that of the import of its libraries",
        value=status_s / libraries_s,
        bound=1.25,
        note=f"{status_s * 1000:.0f} and {libraries_s * 1000:.0f} ms",
    )


def cpu_time_s(command: list[str], environ: dict[str, str]) -> float:
    """Return the CPU time of a process, in user and in system mode."""
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return usage.ru_utime + usage.ru_stime
