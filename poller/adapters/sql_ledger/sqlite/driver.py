"""The connection to SQLite: the path in the URL, the settings of a connection."""

import errno
import os
import sqlite3
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Dialect, Engine, QueuePool, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.util import LRUCache

from poller.adapters.sql_ledger.errors import LedgerFatalError
from poller.adapters.sql_ledger.sqlite.ledger_files import was_known
from poller.core.errors import FatalError

__all__ = ["configured_path", "engine", "ledger_path", "switch_to_wal"]

BUSY_TIMEOUT_S = 5.0
WRITES = "poller_writes"
"""The execution option of a connection that says whether its transaction may write."""
_COMPILED: LRUCache[Any, Any] = LRUCache(500)
"""The compiled statements of all engines. The size is that of an engine's own cache."""
_URL_HINT = "set it to /absolute/path/ledger.db"


def ledger_path(url: str) -> Path:
    """Return the file that the URL names, with every link on the way resolved.

    Locks and companion files go by this path, so two links to one file find the same locks.

    Raises:
        FatalError: a link on the way leads nowhere, or as `configured_path`.
    """
    configured = configured_path(url)
    path = Path(os.path.realpath(configured))
    for part in (*reversed(configured.parents), configured):
        # A ledger that was behind the link and is gone has an error of its own.
        if _leads_nowhere(part) and not was_known(path):
            raise _broken_link_error(configured, part)
    return path


def _leads_nowhere(path: Path) -> bool:
    """Return whether the path is a link to nothing, such as to a disk that is not mounted.

    Whoever followed it would begin a new ledger, with new folders, at a place that nobody chose.
    """
    if not os.path.islink(path):  # noqa: PTH114 - is False for a path that may not be looked at
        return False
    try:
        path.stat()
    except OSError as error:
        return error.errno in {errno.ENOENT, errno.ELOOP}
    return False


def _broken_link_error(configured: Path, link: Path) -> LedgerFatalError:
    return LedgerFatalError(
        f"the path of the ledger, {configured}, leads nowhere: {link} is a link to "
        f"{os.readlink(link)}, which does not exist",  # noqa: PTH115 - only to be shown
        code="ledger-link-broken",
        hint="mount the disk or make the folder behind the link, or set state.url to a path "
        "without this link",
    )


def configured_path(url: str) -> Path:
    """Return the path in the URL as it is written, with its links.

    Raises:
        FatalError: the URL names no file, or another kind of database.
    """
    if url.startswith("/"):
        return Path(url)
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise FatalError(
            "state.url is not a URL", code="ledger-url-invalid", hint=_URL_HINT
        ) from None
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if not is_sqlite or not parsed.database or parsed.database == ":memory:":
        raise FatalError(
            "state.url does not name a SQLite file", code="ledger-url-invalid", hint=_URL_HINT
        )
    return Path(parsed.database).absolute()


def engine(path: Path, *, is_read_only: bool = False) -> Engine:
    """Make an engine that never creates the file, and that has one connection.

    SQLite takes one writer at a time, and `Database` lets threads take turns, so a second
    connection would only wait. If the connection fails, the pool opens another one.
    """
    mode = "ro" if is_read_only else "rw"

    def connect() -> Any:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            # Otherwise sqlite3 begins transactions by itself, later and with a weaker lock than
            # `_begin` does.
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            # In WAL mode, NORMAL would lose the last commits when the power fails.
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    dialect = _shared_dialect()
    pool = QueuePool(connect, pool_size=1, max_overflow=0, dialect=dialect)
    sqlite_engine = Engine(
        pool,
        dialect,
        make_url("sqlite://"),
        hide_parameters=True,  # parameters would put events into the text of an error
    )
    event.listen(sqlite_engine, "begin", _begin)
    # Each engine would compile and keep all statements by itself, which takes most of a megabyte.
    return sqlite_engine.execution_options(compiled_cache=_COMPILED)


@cache
def _shared_dialect() -> Dialect:
    """Return the dialect of all engines, which shared statements need. A connection prepares it."""
    first = create_engine("sqlite://")
    first.connect().close()
    first.dispose()
    return first.dialect


def switch_to_wal(connection: Connection) -> None:
    """Switch the file to write-ahead logging, so readers and a writer do not wait.

    The switch is for good, and happens outside of a transaction. SQLite does not wait for a lock
    here, so one process at a time may do it.

    Raises:
        FatalError: the file system cannot hold a ledger in this mode.
    """
    (mode,) = _driver_connection(connection).execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise FatalError(
            "it cannot be in WAL mode here",
            code="ledger-filesystem-unsuitable",
            hint="keep it on a local disk, not on a network file system",
        )


def _begin(connection: Connection) -> None:
    """Begin a transaction with the lock that it needs.

    A transaction that reads first and then wants to write cannot wait for the write lock: SQLite
    refuses at once, since the rows that it read may have changed. So a writing transaction takes
    the write lock at its beginning.
    """
    writes = connection.get_execution_options().get(WRITES, False)
    _driver_connection(connection).execute("BEGIN IMMEDIATE" if writes else "BEGIN")


def _driver_connection(connection: Connection) -> sqlite3.Connection:
    driver_connection = connection.connection.driver_connection
    assert isinstance(driver_connection, sqlite3.Connection)  # noqa: S101 - made by `engine`
    return driver_connection
