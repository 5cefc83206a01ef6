"""Workers share a ledger in PostgreSQL, and each stream has one owner."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import psycopg
import pytest

from poller.adapters.sql_ledger.errors import LedgerHeldError
from poller.adapters.sql_ledger.places import acquire_lock
from poller.adapters.sql_ledger.postgres import connection as begin
from poller.adapters.sql_ledger.postgres import lease
from poller.adapters.sql_ledger.postgres.address import Address
from poller.adapters.sql_ledger.postgres.worker_lease import WorkerLease
from poller.core.errors import TransientError
from tests.postgres.cluster import Cluster
from tests.process.bench import PATIENCE_S, eventually

STREAM, OTHER = "acme to web", "other to web"
EXPIRED = "UPDATE ledger_lease SET expires_at = clock_timestamp() WHERE owner = '%s'"
ROWS = "SELECT role FROM ledger_lease WHERE role LIKE 'run %' ORDER BY role"


@pytest.fixture(autouse=True)
def _renewed_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a lease expire or be renewed only when the test says so."""
    monkeypatch.setattr(lease, "EXPIRES_AFTER_S", 3600)
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", 3600.0)


@contextmanager
def worker(url: str) -> Iterator[WorkerLease]:
    with closing(WorkerLease.join(Address.of(url))) as joined:
        yield joined


def test_a_stream_has_one_worker_and_the_others_have_theirs(postgres_url: str) -> None:
    with worker(postgres_url) as first, worker(postgres_url) as second:
        with first.owning(STREAM):
            named = rf"process {os.getpid()} \(worker, since"
            with pytest.raises(LedgerHeldError, match=named), second.owning(STREAM):
                pass
            with second.owning(OTHER):
                pass
        with second.owning(STREAM):
            pass


def test_a_worker_and_a_process_that_owns_all_streams_keep_each_other_away(
    postgres_url: str,
) -> None:
    with acquire_lock(postgres_url, "run"), pytest.raises(LedgerHeldError):
        WorkerLease.join(Address.of(postgres_url))
    with worker(postgres_url) as joined:
        acquire_lock(postgres_url, "run").close()  # no stream has an owner
        with joined.owning(STREAM), pytest.raises(LedgerHeldError):
            acquire_lock(postgres_url, "run")
        with (
            closing(acquire_lock(postgres_url, "run")),
            pytest.raises(LedgerHeldError),
            joined.owning(STREAM),
        ):
            pass


def test_a_stream_of_a_worker_that_has_expired_is_free_and_stays_taken(
    postgres_url: str, cluster: Cluster, database: str
) -> None:
    with worker(postgres_url) as first, worker(postgres_url) as second, first.owning(STREAM):
        cluster.execute(EXPIRED % first._owner, database)
        with second.owning(STREAM):
            first._renew()
            assert first.standing() == (0, 2)
            with pytest.raises(LedgerHeldError), first.owning(STREAM):
                pass
            first._free_others()
            assert cluster.execute(ROWS, database) == [(f"run {STREAM}",)]


def test_a_worker_of_another_machine_keeps_its_streams_until_it_expires(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with worker(postgres_url) as first:
        monkeypatch.setattr(lease, "_machine", lambda: "another")
        monkeypatch.setattr(lease, "_is_alive", lambda pid: False)
        with worker(postgres_url) as second, first.owning(STREAM):
            monkeypatch.setattr(lease, "_machine", lambda: "third")
            with pytest.raises(LedgerHeldError), second.owning(STREAM):
                pass


def test_a_stream_is_freed_later_if_the_server_is_down(
    postgres_url: str, cluster: Cluster, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", 0.2)
    with worker(postgres_url) as first, worker(postgres_url) as second, first.owning(OTHER):
        with first.owning(STREAM):
            cluster.stop("immediate")
        cluster.start()

        def is_free() -> bool:
            try:
                with second.owning(STREAM):
                    return True
            except LedgerHeldError:
                return False

        eventually("a free stream", is_free)
        assert cluster.execute(ROWS, database) == [(f"run {OTHER}",)]


def test_a_worker_takes_a_stream_again_that_it_could_not_free(
    postgres_url: str, cluster: Cluster
) -> None:
    with worker(postgres_url) as joined:
        with joined.owning(STREAM):
            cluster.stop("immediate")
        cluster.start()
        with joined.owning(STREAM):
            pass


def test_a_thread_that_waits_for_the_connection_goes_on_when_it_cannot_be_opened(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_opened, is_refused, connect = threading.Event(), threading.Event(), begin.connect

    def refuse(address: Address) -> begin.BoundedConnection:
        monkeypatch.setattr(begin, "connect", connect)
        is_opened.set()
        assert is_refused.wait(PATIENCE_S)
        raise psycopg.OperationalError(address.shown)

    with worker(postgres_url) as joined, ThreadPoolExecutor(2) as pool:
        joined._engine.dispose()
        monkeypatch.setattr(joined._engine.pool, "_timeout", 2 * PATIENCE_S)
        monkeypatch.setattr(begin, "connect", refuse)
        first = pool.submit(joined.standing)
        assert is_opened.wait(PATIENCE_S)
        second = pool.submit(joined.standing)
        eventually("a wait", second.running)
        is_refused.set()
        with pytest.raises(TransientError, match="cannot be reached: "):
            first.result(PATIENCE_S)
        assert second.result(PATIENCE_S) == (0, 1)


def test_a_worker_is_told_of_a_stream_that_another_one_took_and_left(
    postgres_url: str, cluster: Cluster, database: str
) -> None:
    told: list[tuple[str, str]] = []
    with (
        worker(postgres_url) as first,
        worker(postgres_url) as second,
        first.owning(STREAM, lambda error: told.append((STREAM, error.code))),
        first.owning(OTHER, lambda error: told.append((OTHER, error.code))),
    ):
        assert first._renew()
        assert told == []
        cluster.execute(EXPIRED % first._owner, database)
        with second.owning(STREAM):
            pass
        for _ in range(2):
            assert first._renew()
            assert told == [(STREAM, "taken-over")]


def test_workers_stand_in_the_order_in_which_they_joined(
    postgres_url: str, cluster: Cluster, database: str
) -> None:
    with worker(postgres_url) as first, worker(postgres_url) as second:
        with worker(postgres_url) as third:
            places = [each.standing() for each in (first, second, third)]
            assert places == [(0, 3), (1, 3), (2, 3)]
        assert second.standing() == (1, 2)
        cluster.execute(EXPIRED % first._owner, database)
        assert second.standing() == (0, 1)
        assert first.standing() == (1, 2)  # it does not know yet that it has expired


def test_the_row_of_a_worker_that_died_long_ago_is_removed_by_the_next_one(
    postgres_url: str, cluster: Cluster, database: str
) -> None:
    with worker(postgres_url) as dead, worker(postgres_url) as stalled:
        aged = "UPDATE ledger_lease SET expires_at = now() - '%s'::interval WHERE owner = '%s'"
        cluster.execute(aged % ("61 minutes", dead._owner), database)
        cluster.execute(aged % ("59 minutes", stalled._owner), database)
        with worker(postgres_url) as joined:
            owners = {
                owner for (owner,) in cluster.execute("SELECT owner FROM ledger_lease", database)
            }
            assert owners == {stalled._owner, joined._owner}
