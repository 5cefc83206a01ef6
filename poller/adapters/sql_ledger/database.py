"""An open ledger, and its transactions."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

from sqlalchemy import Connection, Engine

from poller.adapters.sql_ledger.lock import Holder, Role
from poller.core.errors import ConflictError, TransientError
from poller.core.events import Stream


class Database(ABC):
    """One connection to the database, used by one thread at a time. Thread-safe.

    A transaction that raises leaves nothing behind.
    """

    def __init__(self, engine: Engine, shown: str) -> None:
        self.shown = shown
        self._engine = engine
        # Threads queue at this lock. If several threads waited for SQLite's own lock, one of them
        # could wait forever, since SQLite polls its lock and keeps no queue.
        self._lock = threading.RLock()
        self._connection: Connection | None = None  # of the transaction that is open now
        self._is_closed = False

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that sees the ledger as of one moment."""
        with self._transaction(self._options(writes=False)) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that may write. It is committed at the end.

        Nothing that it reads can change before it writes: there is one writer at a time, over all
        threads, processes and machines.
        """
        with self._transaction(self._options(writes=True)) as connection:
            yield connection

    def of_stream(self, stream_id: int) -> Self:
        """Return the same database for a caller who writes to this stream alone."""
        del stream_id
        return self

    @abstractmethod
    def overwrite_deleted(self, connection: Connection) -> None:
        """Let the database overwrite what this transaction deletes, as far as it can."""

    @abstractmethod
    def holder_of(self, role: Role) -> Holder | None:
        """Return the process that holds the lock of this role now, or None."""

    def worker_of(self, stream: Stream) -> Holder | None:
        """Return the worker that owns the stream now, or None. Only PostgreSQL has workers."""
        del stream
        return None

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._disconnect()

    @abstractmethod
    def _verdicts(self) -> AbstractContextManager[None]:
        """Turn the errors of the database into errors that name the ledger."""

    @abstractmethod
    def _options(self, *, writes: bool) -> Mapping[str, Any]:
        """Return the options of a connection by which a transaction begins."""

    def _refuse_unusable(self) -> None:
        """Refuse to begin a transaction.

        Raises:
            TransientError: the database is closed.
        """
        if self._is_closed:
            raise TransientError(f"ledger {self.shown} is closed")

    def _connect(self, options: Mapping[str, Any]) -> AbstractContextManager[Connection]:
        """Return the connection for one transaction."""
        return self._engine.connect().execution_options(**options)

    def _disconnect(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _transaction(self, options: Mapping[str, Any]) -> Iterator[Connection]:
        with self._lock, self._verdicts():
            self._refuse_unusable()
            try:
                with self._connect(options) as connection, connection.begin():
                    self._connection = connection
                    yield connection
            except ConflictError:
                raise
            except BaseException:
                # Any other failure may have spoilt the connection. The next transaction opens
                # another one.
                self._disconnect()
                raise
            finally:
                self._connection = None
