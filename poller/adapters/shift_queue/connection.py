"""The connection of the queue, which is opened anew after it was lost."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import psycopg
import structlog
from pgqueuer.adapters.drivers.psycopg import PsycopgDriver
from psycopg import sql

_T = TypeVar("_T")
_RETRY_S = 1.0
_NOTIFIED_S = 0.1
"""The longest time for which a statement waits for the connection."""

log = structlog.get_logger()


class LastingConnection(PsycopgDriver):
    """A driver of PgQueuer that repeats a statement whose connection was lost.

    PgQueuer ends with its connection, and its worker would end with it. All pipelines of the
    worker would have to be opened again, with a new token each.

    A statement is repeated even if only its answer was lost. At worst a job is then given to two
    workers, which the ledger makes harmless. Once `ending` is set, nothing is repeated.
    """

    def __init__(
        self, conninfo: str, connection: psycopg.AsyncConnection, ending: asyncio.Event
    ) -> None:
        super().__init__(connection)
        self._conninfo = conninfo
        self._ending = ending
        self._lock = asyncio.Lock()

    @classmethod
    async def open(cls, conninfo: str, ending: asyncio.Event) -> "LastingConnection":
        """Connect.

        Raises:
            psycopg.Error: the server cannot be reached, or refuses.
        """
        return cls(conninfo, await _connect(conninfo), ending)

    async def aclose(self) -> None:
        await self._connection.close()

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        fetch = super().fetch
        return await self._repeated(lambda: fetch(query, *args))

    async def execute(self, query: str, *args: object) -> str:
        execute = super().execute
        return await self._repeated(lambda: execute(query, *args))

    async def watch_notifies(self) -> None:
        """Hand each notification to the callbacks of its channel.

        A wait for notifications keeps the connection from all statements. PgQueuer waits for a
        second at a time, so that each statement would take half a second longer.
        """
        while not self.shutdown.is_set():
            await self._repeated(self._hand_over)

    async def _hand_over(self) -> None:
        async for note in self._connection.notifies(timeout=_NOTIFIED_S, stop_after=1):
            for callback in [*self._listeners.get(note.channel, ())]:
                callback(note.payload)

    async def _repeated(self, act: Callable[[], Awaitable[_T]]) -> _T:
        while True:
            connection = self._connection
            try:
                return await act()
            except psycopg.OperationalError as error:
                if self._ending.is_set() or not (connection.closed or _is_of_server(error)):
                    raise
            await self._replace(connection)

    async def _replace(self, lost: psycopg.AsyncConnection) -> None:
        """Connect again, unless another task has done so. Try until it is time to end."""
        async with self._lock:
            if self._connection is not lost:
                return
            log.warning("queue.connection_lost")
            while True:
                try:
                    connection = await _connect(self._conninfo)
                    for channel in self._listeners:
                        await connection.execute(
                            sql.SQL("LISTEN {}").format(sql.Identifier(channel))
                        )
                    break
                except psycopg.OperationalError:
                    if self._ending.is_set():
                        raise
                    await asyncio.sleep(_RETRY_S)
            with suppress(psycopg.Error):
                await lost.close()
            self._connection = connection
            log.info("queue.connected_again")


def _is_of_server(error: psycopg.OperationalError) -> bool:
    """Return whether the server or the connection failed, and not the statement.

    Classes 08 and 57P of the SQLSTATE. The state is None if no answer of the server came.
    """
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))


async def _connect(conninfo: str) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(conninfo, autocommit=True, prepare_threshold=None)
