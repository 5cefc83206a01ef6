"""A server that fails is passing trouble, in every way in which servers fail."""

import os
import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text

from poller.adapters.sql_ledger import errors
from poller.adapters.sql_ledger.inspection import inspect_ledger
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.places import acquire_lock, place_of
from poller.adapters.sql_ledger.postgres import connection as begin
from poller.adapters.sql_ledger.postgres.address import Address
from poller.adapters.sql_ledger.postgres.connection import driver_connection
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.core.errors import FatalError, TransientError
from poller.core.log_ids import EARLIEST
from tests.builders import page, settlement
from tests.fakes import STREAM, numbered
from tests.postgres.cluster import USER, Cluster
from tests.process.bench import PATIENCE_S, eventually


@pytest.fixture
def ledger(postgres_url: str) -> Iterator[SqlLedger]:
    """A ledger with a span that has settled one event."""
    ledger = SqlLedger.open(postgres_url, STREAM, create=True)
    ledger.settle(settlement(ledger.begin(after=EARLIEST), page(1)))
    yield ledger
    ledger.close()


def settle_next(ledger: SqlLedger) -> None:
    live = ledger.live_span()
    assert live is not None
    ledger.settle(settlement(live, page(2)))


def position(ledger: SqlLedger) -> str:
    live = ledger.live_span()
    assert live is not None
    return live.reached


@contextmanager
def failing(words: str) -> Iterator[None]:
    with pytest.raises(TransientError) as raised:
        yield
    assert words in str(raised.value)
    assert type(raised.value) in {TransientError, errors.LedgerLockedError}


def test_a_server_that_was_restarted_is_used_again_without_an_error(
    ledger: SqlLedger, cluster: Cluster
) -> None:
    cluster.restart("immediate")
    settle_next(ledger)
    assert position(ledger) == numbered(2)


def test_a_stopped_server_is_passing_trouble(ledger: SqlLedger, cluster: Cluster) -> None:
    cluster.stop()
    try:
        with failing("cannot be reached: "):
            settle_next(ledger)
    finally:
        cluster.start()
    settle_next(ledger)


def test_a_page_is_not_settled_when_its_session_is_ended_in_the_middle(
    ledger: SqlLedger, cluster: Cluster
) -> None:
    with failing("the server ended the connection"), ledger._database.writing() as connection:
        connection.execute(text("UPDATE span SET confirmed = reached"))
        pid = driver_connection(connection).info.backend_pid
        cluster.execute(f"SELECT pg_terminate_backend({pid})")
        connection.execute(text("SELECT 1"))
    assert position(ledger) == numbered(1)


def test_a_database_with_too_many_connections_is_passing_trouble(
    ledger: SqlLedger, cluster: Cluster, database: str, postgres_url: str
) -> None:
    cluster.execute(f"ALTER DATABASE {database} CONNECTION LIMIT 0")
    with failing("too many connections"):
        SqlLedger.open(postgres_url, STREAM, create=True)
    cluster.execute(f"ALTER DATABASE {database} CONNECTION LIMIT -1")
    settle_next(ledger)


def test_a_server_that_is_read_only_for_a_while_is_read_and_not_written(
    ledger: SqlLedger, cluster: Cluster, database: str, postgres_url: str
) -> None:
    cluster.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    ledger._database._engine.dispose()
    with failing("is read-only"):
        settle_next(ledger)
    with failing("is read-only"):
        inspect_ledger(postgres_url, STREAM)
    with closing(LedgerReader.open(postgres_url)) as reader:
        assert reader.totals(STREAM)["forwarded"] == 1
    cluster.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    ledger._database._engine.dispose()
    settle_next(ledger)


@contextmanager
def locked(cluster: Cluster, database: str) -> Iterator[None]:
    """Hold the row of the stream, as another writer does."""
    with cluster.superuser(database) as connection, connection.transaction():
        connection.execute("SELECT FROM stream FOR UPDATE")
        yield


@contextmanager
def limited(ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch, limit: str) -> Iterator[None]:
    """Set a limit at the beginning of each transaction that writes."""
    lock = ledger._database._writing.removeprefix(begin.CHANGING)  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(ledger._database, "_writing", f"{begin.CHANGING}; {limit}{lock}")
        yield


SHORT_PATIENCE = "SET LOCAL lock_timeout = '50ms'"


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (SHORT_PATIENCE, errors.LOCKED),
        ("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = '50ms'", errors.INTERRUPTED),
    ],
)
def test_no_writer_waits_for_another_one_for_ever(
    ledger: SqlLedger,
    cluster: Cluster,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    words: str,
) -> None:
    with limited(ledger, monkeypatch, limit), locked(cluster, database), failing(words):
        settle_next(ledger)
    settle_next(ledger)


def test_a_session_that_stalls_within_a_transaction_is_ended_by_the_server(
    ledger: SqlLedger, cluster: Cluster
) -> None:
    with ledger._database.reading() as connection:
        limits = [
            connection.scalar(text(f"SHOW {name}"))
            for name in (
                "idle_in_transaction_session_timeout",
                "statement_timeout",
                "lock_timeout",
                "log_parameter_max_length_on_error",
            )
        ]
    assert limits == ["15s", "1min", "5s", "0"]
    limit = "SET LOCAL idle_in_transaction_session_timeout = '20ms'"
    # libpq drops the reason if it comes together with the answer to the limit.
    with failing("cannot be reached: "), ledger._database.writing() as connection:
        driver = driver_connection(connection)
        pid = driver.info.backend_pid
        driver.execute(limit)
        select.select([driver], [], [], PATIENCE_S)  # until the server says good-bye
        connection.execute(text("SELECT 1"))
    reason = "terminating connection due to idle-in-transaction timeout"
    assert f"[{pid}] FATAL:  {reason}" in cluster.log
    settle_next(ledger)


LIMIT = b"SELECT set_config('idle_in_transaction_session_timeout', '250ms', true)"
"""Lets the server end the session itself, half a second before it counts as stalled."""
STALLED_AFTER_S = 0.5
IS_STALLED = f"""
SELECT pid FROM pg_stat_activity WHERE pid = %d AND wait_event = 'ClientRead'
AND state_change < clock_timestamp() - '{STALLED_AFTER_S} s'::interval
"""  # noqa: S608 - a number of ours
IS_THERE = "SELECT pid FROM pg_stat_activity WHERE pid = %d"


def stall_after_a_flush(session: psycopg.Connection[Any]) -> None:
    """Leave the session as psycopg leaves it after an `executemany`."""
    session.pgconn.enter_pipeline_mode()
    session.pgconn.send_query_params(LIMIT, [])
    session.pgconn.pipeline_sync()
    session.pgconn.send_flush_request()
    session.pgconn.flush()


def stall_in_a_message(session: psycopg.Connection[Any]) -> None:
    """Leave the session as a network does that fails between two packets."""
    session.pgconn.enter_pipeline_mode()
    session.pgconn.send_query_params(LIMIT, [])
    session.pgconn.flush()


STALLS = [stall_after_a_flush, stall_in_a_message]
Stall = Callable[[psycopg.Connection[Any]], None]


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def stalled(url: str, cluster: Cluster, stall: Stall) -> Iterator[int]:
    """Let a session stall with the lock on the stream. Yield the number of its server process."""
    with closing(begin.connect(Address.of(url))) as session:
        session.execute(begin.writing_to(1))
        pid = session.info.backend_pid
        with frozen(pid):  # so that the server gets all messages at once
            stall(session)
        eventually("a stall", lambda: cluster.execute(IS_STALLED % pid))
        yield pid


def wait_for_the_end(cluster: Cluster, pid: int) -> None:
    """Return once a session of the server has ended, and its locks with it."""
    eventually("the end of a session", lambda: not cluster.execute(IS_THERE % pid))


@pytest.mark.parametrize("stall", STALLS)
def test_a_writer_that_waited_for_a_stalled_session_goes_on_at_the_next_attempt(
    ledger: SqlLedger,
    postgres_url: str,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    stall: Stall,
) -> None:
    monkeypatch.setattr(begin, "STALLED_AFTER_S", STALLED_AFTER_S)
    with stalled(postgres_url, cluster, stall) as pid:
        with limited(ledger, monkeypatch, SHORT_PATIENCE), failing(errors.LOCKED):
            settle_next(ledger)
        wait_for_the_end(cluster, pid)
        settle_next(ledger)
    assert position(ledger) == numbered(2)


@pytest.mark.parametrize("stall", STALLS)
def test_a_process_that_takes_the_lease_waits_for_no_stalled_session(
    ledger: SqlLedger,
    postgres_url: str,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    stall: Stall,
) -> None:
    del ledger
    monkeypatch.setattr(begin, "STALLED_AFTER_S", STALLED_AFTER_S)
    with stalled(postgres_url, cluster, stall) as pid, acquire_lock(postgres_url, "run"):
        wait_for_the_end(cluster, pid)
        SqlLedger.open(postgres_url, STREAM, create=False).close()


def test_a_session_that_works_is_left_alone(
    ledger: SqlLedger, postgres_url: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begin, "STALLED_AFTER_S", 3600.0)
    with (
        stalled(postgres_url, cluster, stall_after_a_flush) as pid,
        limited(ledger, monkeypatch, SHORT_PATIENCE),
    ):
        for _ in range(2):
            with failing(errors.LOCKED):
                settle_next(ledger)
        assert cluster.execute(IS_THERE % pid)


def test_a_server_that_freezes_is_given_up(
    ledger: SqlLedger, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        with failing("cannot be reached: "), ledger._database.writing() as connection:
            pid = driver_connection(connection).info.backend_pid
            stack.enter_context(frozen(pid))
            monkeypatch.setattr(begin, "_LONGEST_CALL_S", 0.3)
            connection.execute(text("SELECT 1"))
        monkeypatch.undo()
        assert position(ledger) == numbered(1)  # by another session
    wait_for_the_end(cluster, pid)
    settle_next(ledger)


def test_a_session_that_froze_while_it_was_idle_is_replaced(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ledger._database.reading() as connection:
        pid = driver_connection(connection).info.backend_pid
    connect = begin.connect

    def connect_and_have_patience(address: Address) -> begin.BoundedConnection:
        monkeypatch.undo()
        return connect(address)

    monkeypatch.setattr(begin, "_LONGEST_CALL_S", 0.3)
    monkeypatch.setattr(begin, "connect", connect_and_have_patience)
    with frozen(pid):
        settle_next(ledger)
    assert position(ledger) == numbered(2)


def options_of(connection: Connection) -> list[int]:
    descriptor = os.dup(driver_connection(connection).fileno())
    with socket.socket(fileno=descriptor) as used:
        return [
            used.getsockopt(level, option)
            for level, option in (
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
            )
        ]


def test_a_server_whose_machine_is_gone_is_noticed_within_fifteen_seconds(
    ledger: SqlLedger,
) -> None:
    with ledger._database.reading() as connection:
        assert options_of(connection) == [1, 5, 5, 2, 15_000]


def refusal(url: str) -> FatalError:
    with pytest.raises(FatalError) as raised:
        SqlLedger.open(url, STREAM, create=True)
    assert raised.value.code == "ledger-access-refused"
    return raised.value


def test_a_wrong_password_and_a_missing_one_are_refusals(postgres_url: str) -> None:
    before, after = postgres_url.split(f"{USER}:")
    _, after = after.split("@", 1)
    for user in (f"{USER}:wrong", USER, "nobody:wrong"):
        assert "28P01" in str(refusal(f"{before}{user}@{after}"))


def test_an_unknown_database_is_a_refusal(postgres_url: str, database: str) -> None:
    assert "does not exist" in str(refusal(postgres_url.replace(f"/{database}", "/unknown")))


def test_missing_rights_are_a_refusal(postgres_url: str, cluster: Cluster, database: str) -> None:
    cluster.execute(f"ALTER DATABASE {database} OWNER TO postgres")
    cluster.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database)
    assert "42501" in str(refusal(postgres_url))
    with pytest.raises(FatalError) as raised:
        inspect_ledger(postgres_url, STREAM)
    assert raised.value.code == "ledger-access-refused"
    cluster.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    assert "42501" in str(refusal(postgres_url))


def test_a_database_that_was_dropped_and_made_anew_is_no_first_start(
    ledger: SqlLedger, postgres_url: str, cluster: Cluster, database: str
) -> None:
    ledger.close()
    cluster.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public", database)
    for act in (
        lambda: SqlLedger.open(postgres_url, STREAM, create=True),
        lambda: LedgerReader.open(postgres_url),
        lambda: inspect_ledger(postgres_url, STREAM),
    ):
        with pytest.raises(FatalError) as raised:
            act()
        assert raised.value.code == "ledger-gone"
    place_of(postgres_url).beside(".known").unlink()
    cluster.execute(f"GRANT ALL ON SCHEMA public TO {USER}", database)
    assert inspect_ledger(postgres_url, STREAM).startswith("none yet")
    SqlLedger.open(postgres_url, STREAM, create=True).close()


@pytest.mark.usefixtures("ledger")
def test_a_ledger_of_a_later_program_is_refused(
    postgres_url: str, cluster: Cluster, database: str
) -> None:
    cluster.execute("UPDATE ledger_version SET version = version + 1", database)
    with pytest.raises(FatalError) as raised:
        SqlLedger.open(postgres_url, STREAM, create=True)
    assert raised.value.code == "ledger-too-new"


@pytest.mark.usefixtures("ledger")
def test_a_ledger_of_an_earlier_program_is_refused_by_the_start_and_by_check(
    postgres_url: str, cluster: Cluster, database: str
) -> None:
    cluster.execute("UPDATE ledger_version SET version = version - 1", database)
    for act in (
        lambda: SqlLedger.open(postgres_url, STREAM, create=True),
        lambda: inspect_ledger(postgres_url, STREAM),
    ):
        with pytest.raises(FatalError) as raised:
            act()
        assert raised.value.code == "ledger-too-old"
        assert "install the version that wrote it" in raised.value.hint


def test_a_role_that_may_lose_its_last_commits_may_not_here(
    ledger: SqlLedger, cluster: Cluster, database: str
) -> None:
    cluster.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
    ledger._database._engine.dispose()
    with ledger._database.writing() as connection:
        assert connection.scalar(text("SHOW synchronous_commit")) == "on"
