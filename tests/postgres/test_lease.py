"""The lease on a ledger in PostgreSQL keeps a second process of its role away, on any machine."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.errors import LedgerHeldError
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import acquire_lock, place_of
from poller.adapters.sql_ledger.postgres import lease
from poller.cli.wiring.ledgers import Ledgers
from poller.config import Settings, load_settings
from poller.core.errors import FatalError
from poller.service.lifecycle.process import Work
from tests.fakes import STREAM
from tests.paths import ROOT
from tests.postgres.cluster import Cluster

HOLDER = """
import sys
from poller.adapters.sql_ledger.places import acquire_lock
with acquire_lock(sys.argv[1], "run"):
    print("held", flush=True)
    sys.stdin.read()
"""
EXPIRES = "UPDATE ledger_lease SET expires_at = clock_timestamp() + '%s'::interval"


@pytest.fixture(autouse=True)
def _long_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no lease of this process expire by itself."""
    monkeypatch.setattr(lease, "EXPIRES_AFTER_S", 3600)


@contextmanager
def holder(url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lease until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process believe that it runs on another machine."""
    monkeypatch.setattr(lease, "_machine", lambda: "another")
    monkeypatch.setattr(socket, "gethostname", lambda: "host-b")


def expire(cluster: Cluster, database: str, after: str = "0 s") -> None:
    cluster.execute(EXPIRES % after, database)


def test_a_second_process_of_the_role_is_refused_and_told_who_holds_the_ledger(
    postgres_url: str,
) -> None:
    with acquire_lock(postgres_url, "run"):
        with pytest.raises(LedgerHeldError) as raised:
            acquire_lock(postgres_url, "run")
        found = place_of(postgres_url).holder_of("run")
        acquire_lock(postgres_url, "backfill").close()
    assert found is not None
    assert (found.pid, found.host) == (os.getpid(), None)
    assert f"is held by process {os.getpid()} (run, since 20" in str(raised.value)
    assert place_of(postgres_url).holder_of("run") is None
    acquire_lock(postgres_url, "run").close()


def test_another_machine_is_told_the_host_of_the_holder(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = socket.gethostname()
    with acquire_lock(postgres_url, "run"):
        elsewhere(monkeypatch)
        with pytest.raises(LedgerHeldError, match=f"process {os.getpid()} on {host} "):
            acquire_lock(postgres_url, "run")


def test_a_lease_that_has_expired_is_taken_over_and_its_owner_notices(
    postgres_url: str, cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", 0.2)
    first = acquire_lock(postgres_url, "run")
    assert isinstance(first, lease.Lease)
    try:
        elsewhere(monkeypatch)
        with cluster.superuser(database) as connection, connection.transaction():
            # No renewal comes between.
            connection.execute("LOCK TABLE ledger_lease")
            connection.execute("UPDATE ledger_lease SET owner = 'other', host = 'host-b'")
        first._thread.join(120)
        assert first.is_lost
    finally:
        first.close()
    found = cluster.execute("SELECT owner FROM ledger_lease", database)
    assert found == [("other",)]  # to free the lease frees only one's own


def test_an_expired_lease_is_free_though_its_owner_never_freed_it(
    postgres_url: str, cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(postgres_url) as process:
        os.kill(process.pid, signal.SIGSTOP)
        expire(cluster, database, after="1 hour")
        elsewhere(monkeypatch)
        with pytest.raises(LedgerHeldError):
            acquire_lock(postgres_url, "run")
        expire(cluster, database)
        assert place_of(postgres_url).holder_of("run") is None
        acquire_lock(postgres_url, "run").close()


def test_a_killed_process_of_this_machine_frees_the_ledger_at_once(postgres_url: str) -> None:
    with holder(postgres_url) as process:
        assert place_of(postgres_url).holder_of("run") is not None
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays as a zombie
        assert place_of(postgres_url).holder_of("run") is None
        acquire_lock(postgres_url, "run").close()


def test_the_pipelines_of_a_process_share_a_ledger_although_each_has_a_folder(
    cluster: Cluster, database: str, tmp_path: Path
) -> None:
    ledgers = Ledgers()

    def settings(name: str) -> Settings:
        state = cluster.settings(database, tmp_path / name).items()
        environ = {f"POLLER_{key.upper()}": value for key, value in state} | {
            "POLLER_AUTH0__DOMAIN": STREAM.domain,
            "POLLER_SEGMENT__SOURCE_NAME": name,
        }
        return load_settings(None, environ, secrets=False)

    with (
        ledgers.opened(settings("one"), Work()),
        ledgers.opened(settings("two"), Work(), adopt=True),
    ):
        count = "SELECT count(DISTINCT owner) FROM ledger_lease"
        assert cluster.execute(count, database) == [(1,)]


@pytest.mark.parametrize("hidden", [["_BOOT_ID"], ["_BOOT_ID", "_MACHINE_ID"]])
def test_a_process_that_may_not_see_the_number_of_the_boot_can_hold_a_ledger(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, hidden: list[str]
) -> None:
    """The units hide it, by `ProcSubset=pid`."""
    seen = lease._machine()
    for name in hidden:
        monkeypatch.setattr(lease, name, "/hidden")
    assert lease._machine() != seen
    with acquire_lock(postgres_url, "run"):
        found = place_of(postgres_url).holder_of("run")
    assert found is not None
    assert (found.pid, found.host) == (os.getpid(), None)


def test_a_lease_is_renewed_and_outlives_a_restart_of_the_server(
    postgres_url: str, cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", 0.2)
    with acquire_lock(postgres_url, "run"):
        cluster.restart("immediate")
        (before,) = cluster.execute("SELECT max(expires_at) FROM ledger_lease", database)
        for _ in range(5_000):
            (now,) = cluster.execute(
                "SELECT max(expires_at) FROM ledger_lease, pg_sleep(0.02)", database
            )
            if now > before:
                break
        assert now > before
        with pytest.raises(LedgerHeldError):
            acquire_lock(postgres_url, "run")


def test_no_lease_is_written_into_a_database_of_another_program(
    postgres_url: str, cluster: Cluster, database: str
) -> None:
    cluster.execute("CREATE TABLE theirs (id integer)", database)
    for act in (
        lambda: acquire_lock(postgres_url, "run"),
        lambda: SqlLedger.open(postgres_url, STREAM, create=True),
    ):
        with pytest.raises(FatalError) as raised:
            act()
        assert raised.value.code == "not-a-ledger"
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    assert cluster.execute(tables, database) == [("theirs",)]


def test_the_lease_may_be_there_before_the_ledger(postgres_url: str, tmp_path: Path) -> None:
    with acquire_lock(postgres_url, "run"):
        SqlLedger.open(postgres_url, STREAM, create=True).close()
    assert [*(tmp_path / "local").iterdir()] == [place_of(postgres_url).beside(".known")]
