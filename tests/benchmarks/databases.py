"""The ledger in PostgreSQL against the ledger in SQLite, within one run on one machine.

Both databases keep each commit on the disk.
"""

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.log_ids import EARLIEST
from tests.benchmarks.figure import Figure
from tests.builders import page, settlement
from tests.fakes import STREAM, numbered
from tests.postgres.cluster import PASSWORD, Cluster, programs
from tests.process.bench import COMMAND

_PAGES = 200
_RECENT_IDS = 3_000_000
_SAFE = "fsync = on\nfull_page_writes = on\nautovacuum = on\nshared_buffers = 128MB\n"


def against_sqlite(folder: Path) -> Iterator[Figure]:
    """Measure settles, and `status` beside three million recent ids and beside few."""
    with server() as cluster, cluster.database() as database, cluster.database() as other:
        many = {
            "SQLite": f"sqlite:///{folder / 'ledger.db'}",
            "PostgreSQL": cluster.url(database, folder / "local"),
        }
        few = {
            "SQLite": f"sqlite:///{folder / 'few.db'}",
            "PostgreSQL": cluster.url(other, folder / "local"),
        }
        speeds = {name: _settles_per_second(url) for name, url in many.items()}
        yield Figure(
            name="settles a second in PostgreSQL, over those in SQLite",
            value=speeds["PostgreSQL"] / speeds["SQLite"],
            bound=0.25,
            is_at="least",
            note=f"{speeds['PostgreSQL']:.0f} and {speeds['SQLite']:.0f} pages of 100 events",
        )
        for url in few.values():
            _settles_per_second(url)
        _fill(folder / "ledger.db", cluster, database)
        for name, url in many.items():
            yield _of_status(folder, name, url, few[name])


def _of_status(folder: Path, name: str, many: str, few: str) -> Figure:
    """Run the command on both ledgers in turn, and compare the shortest times."""
    runs = [(_status(folder, name, few), _status(folder, name, many)) for _ in range(5)]
    (few_s, few_mb), (many_s, many_mb) = (min(times) for times in zip(*runs, strict=True))
    return Figure(
        name=f"`status` in {name} at 3 million recent ids, times as long as at few",
        value=many_s / few_s,
        bound=1.5,
        note=f"{many_s:.2f} and {few_s:.2f} s, {many_mb:.0f} and {few_mb:.0f} MB",
    )


@contextmanager
def server() -> Iterator[Cluster]:
    """Run a server that keeps each commit on the disk."""
    folder = programs()
    if folder is None:
        raise SystemExit("needs Debian's PostgreSQL: apt-get install postgresql")
    cluster = Cluster(folder)
    try:
        cluster.create()
        cluster.configure(_SAFE)
        cluster.restart()
        yield cluster
    finally:
        cluster.remove()


def _settles_per_second(url: str) -> float:
    """Settle pages of 100 logins, each with its identify. Return how many a second."""
    with closing(SqlLedger.open(url, STREAM, create=True)) as ledger:
        span = ledger.begin(after=EARLIEST)
        spent_s = 0.0
        for number in range(_PAGES):
            settled = settlement(span, page(*range(number * 100 + 1, number * 100 + 101)))
            begun_at = time.perf_counter()
            span = ledger.settle(settled)  # type: ignore[assignment]
            spent_s += time.perf_counter() - begun_at
    return _PAGES / spent_s


def _fill(path: Path, cluster: Cluster, database: str) -> None:
    """Write recent ids into both ledgers."""
    with closing(sqlite3.connect(path)) as connection, connection:
        ids = ((f"{numbered(0)}-{number:09d}",) for number in range(_RECENT_IDS))
        connection.executemany("INSERT INTO recent_id (stream_id, log_id) VALUES (1, ?)", ids)
    prefix = f"{numbered(0)}-"
    rows = f"SELECT 1, '{prefix}' || lpad(number::text, 9, '0')"
    numbers = f"generate_series(1, {_RECENT_IDS}) AS number"
    cluster.execute(f"INSERT INTO recent_id {rows} FROM {numbers}", database)
    cluster.execute("VACUUM ANALYZE", database)


def _status(folder: Path, name: str, url: str) -> tuple[float, float]:
    """Return the seconds and the megabytes of the command."""
    settings = folder / f"{name}.toml"
    location = url.partition("#")[0]
    settings.write_text(f'[state]\nurl = "{_without_password(location)}"\n')
    environ = os.environ | ({"POLLER_STATE__PASSWORD": PASSWORD} if name == "PostgreSQL" else {})
    return _measured(settings, environ)


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    user, _, place = rest.rpartition("@")
    return f"{scheme}://{user.split(':')[0]}@{place}" if user else url


def _measured(settings: Path, environ: dict[str, str]) -> tuple[float, float]:
    begun_at = time.perf_counter()
    command = [COMMAND, "status", "--json", "--config", settings]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environ)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - begun_at, used.ru_maxrss / 1024
