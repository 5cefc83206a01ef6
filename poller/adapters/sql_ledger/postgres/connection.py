"""The connection to PostgreSQL: deadlines, the code of a refusal, and how a transaction begins."""

import contextlib
import os
import re
import select
import time
from typing import Any

import psycopg
from psycopg import pq
from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, text

from poller.adapters.sql_ledger.postgres.address import Address

BEGIN = "poller_begin"
"""The execution option of a connection that holds the statements which begin a transaction."""
STALLED_AFTER_S = 15.0
# The server ends a session that stalls within a transaction. Otherwise the locks of a process that
# was stopped would stay as long as its machine answers. See `end_stalled`.
_LIMITS = (
    "SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '5s'; "
    "SET LOCAL idle_in_transaction_session_timeout = '15s'; "
    "SET LOCAL log_parameter_max_length_on_error = 0"
)
# A role may have been set to lose its last commits when the server fails.
_DURABLE = (
    "SELECT set_config('synchronous_commit', 'on', true) "
    "WHERE current_setting('synchronous_commit') = 'off'"
)
READING = f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {_LIMITS}"
CHANGING = f"BEGIN ISOLATION LEVEL READ COMMITTED; {_LIMITS}; {_DURABLE}"
WRITING = f"{CHANGING}; SELECT FROM ledger_version FOR UPDATE"
SETTING_UP = f"{CHANGING}; SELECT pg_advisory_xact_lock(3141592653589793)"
"""A lock of the transaction alone, for the time before there is a row to lock."""
_END_STALLED = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND usename = session_user
AND application_name = current_setting('application_name')
AND wait_event = 'ClientRead' AND xact_start IS NOT NULL
AND state_change < clock_timestamp() - make_interval(secs => :seconds)
"""
_LONGEST_CALL_S = 75.0
"""The time after which no answer is waited for. It is longer than the limit of a statement."""
_NO_PASSWORD = "28P01"  # noqa: S105 - a SQLSTATE
_LONGEST_REFUSAL_S = 5.0
_SQLSTATE = re.compile(rb'\tErrorResponse\t.*? C "([0-9A-Z]{5})"', re.DOTALL)


def writing_to(stream_id: int) -> str:
    """Return the beginning of a transaction that writes to one stream.

    Others may write to other streams meanwhile, but nobody to the whole ledger.
    """
    own = f"SELECT FROM stream WHERE id = {stream_id:d} FOR UPDATE"
    return f"{CHANGING}; SELECT FROM ledger_version FOR SHARE; {own}"


def end_stalled(connection: Connection) -> None:
    """End the sessions of this program that have stalled within a transaction, to free their locks.

    The server does so in most cases by itself. It does not if it has got only a part of a message,
    or if it has nothing to say to the last one, such as to the Flush after an `executemany` of
    psycopg. The locks of a machine that is gone would then stay until TCP gives up, which may
    take hours.
    """
    connection.execute(text(_END_STALLED), {"seconds": STALLED_AFTER_S})


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that waits for no answer for ever, even if the server's machine is frozen."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for an answer of the server.

        Raises:
            psycopg.OperationalError: none came in time.
        """
        try:
            return super().wait(gen, interval=interval, timeout=timeout or _LONGEST_CALL_S)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == pq.TransactionStatus.ACTIVE:
                # The answer may still come. Nothing else can be asked on this connection.
                self.pgconn.finish()
            raise


def engine(address: Address) -> Engine:
    """Make an engine that has one connection, and that tries it before each transaction."""
    made = create_engine(
        "postgresql+psycopg://",
        creator=lambda: connect(address),
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_pre_ping=True,
        hide_parameters=True,  # parameters would put events into the text of an error
        use_native_hstore=False,  # saves a question at each connect
    )
    event.listen(made, "begin", _begin)
    return made


def connect(address: Address) -> BoundedConnection:
    """Open a connection that begins no transaction by itself, and prepares no statement.

    A pooler such as PgBouncer may give each transaction another session, which knows nothing of
    what was prepared or set before.

    Raises:
        psycopg.OperationalError: the server cannot be reached, or refuses. If it said why in a
            way that programs can read, the error has that `sqlstate`.
    """
    try:
        return BoundedConnection.connect(address.conninfo, autocommit=True, prepare_threshold=None)
    except psycopg.errors.ConnectionTimeout:
        raise
    except psycopg.OperationalError as error:
        is_missing = error.pgconn is not None and error.pgconn.needs_password
        error.sqlstate = _NO_PASSWORD if is_missing else refusal(address.conninfo)
        raise


def refusal(conninfo: str) -> str | None:
    """Connect once more, and return the SQLSTATE of the server's refusal, or None without one.

    libpq tells a program only the text of a refusal, in the language of the server. Its trace
    shows the message of the server with all fields. The trace is in memory, and is not kept.
    """
    with contextlib.suppress(psycopg.Error, OSError):
        trace = os.memfd_create("refusal", os.MFD_CLOEXEC)
        try:
            _trace_connecting(conninfo, trace)
            found = _SQLSTATE.findall(os.pread(trace, 1_000_000, 0))
        finally:
            os.close(trace)
        return found[-1].decode() if found else None
    return None


def _trace_connecting(conninfo: str, trace: int) -> None:
    connecting = pq.PGconn.connect_start(conninfo.encode())
    try:
        connecting.trace(os.dup(trace))  # libpq closes the copy
        connecting.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        ends_at = time.monotonic() + _LONGEST_REFUSAL_S
        while (left := ends_at - time.monotonic()) > 0:
            match connecting.connect_poll():
                case pq.PollingStatus.READING:
                    select.select([connecting.socket], [], [], left)
                case pq.PollingStatus.WRITING:
                    select.select([], [connecting.socket], [], left)
                case _:
                    break
        connecting.untrace()
    finally:
        connecting.finish()


def driver_connection(connection: Connection) -> BoundedConnection:
    """Return the connection of psycopg behind a connection of `engine`."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, BoundedConnection)  # noqa: S101 - made by `connect`
    return driver


def _begin(connection: Connection) -> None:
    """Begin a transaction by one round trip, with its limits and the rows that it locks."""
    statements = connection.get_execution_options()[BEGIN]
    # Without parameters, even an empty list of them, several statements may go at once.
    connection.exec_driver_sql(statements, execution_options={"no_parameters": True})
