"""The server of the page: a thread with an event loop of its own.

The daemon never waits for it. The page's end does not end the daemon.
"""

import asyncio
import contextlib
import socket
import threading
from typing import Self, cast

import structlog
from aiohttp import web

from poller.service.observability.http_endpoint import shown_address
from poller.service.page.access import Access
from poller.service.page.parts import ManyParts, PageParts
from poller.service.page.routes import Routes

MOST_CONNECTIONS = 64
"""The number of open connections beside the viewers. One more closes the oldest."""
CONNECTION_S = 30.0
"""The time for a connection without a stream: one request and its answer. Then it is closed."""
_LOOK_S = 1.0
_OPENING_S = 5.0
"""The time after which a connection that is not open was closed by its client."""
_START_S = 10.0
_STOP_S = 2.0
_END_S = 0.1
"""The time for connections that came in the last moment to be opened, before all are cut."""

Connection = web.RequestHandler

log = structlog.get_logger()


class PageServer:
    """The page on one address, from `open` to `close`."""

    def __init__(
        self, listening: socket.socket, parts: PageParts | ManyParts, access: Access
    ) -> None:
        self.access = access
        self.host, self.port = listening.getsockname()[:2]
        self._listening = listening
        self._routes = Routes(parts, access)
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._begun: dict[Connection, float] = {}

    @classmethod
    def open(cls, listening: socket.socket, parts: PageParts | ManyParts, access: Access) -> Self:
        """Serve on a socket that listens already."""
        server = cls(listening, parts, access)
        server._thread.start()
        server._started.wait(_START_S)
        log.info("live_page.listening", address=shown_address(server.host, server.port))
        return server

    def close(self) -> None:
        """End the server. Streams are cut."""
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except Exception as error:  # noqa: BLE001 - the page must not hurt the daemon
            log.warning("live_page.ended", error=type(error).__name__)
        finally:
            self._started.set()
            self._listening.close()
            self._loop.close()

    async def _serve(self) -> None:
        runner = web.AppRunner(self._routes.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        server = await self._loop.create_server(
            lambda: self._accepted(cast("web.Server", runner.server)), sock=self._listening
        )
        overdue = self._loop.create_task(self._close_overdue())
        self._started.set()
        await self._ended.wait()
        server.close()
        overdue.cancel()
        self._routes.close()
        # A connection that comes just now is opened by a task, and can be cut only then.
        if ending := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(ending, timeout=_END_S)
        for connection in [*self._begun]:
            self._cut(connection)
        await runner.cleanup()
        await self._loop.shutdown_asyncgens()

    def _accepted(self, server: web.Server) -> Connection:
        """Return the protocol of a new connection, and note when it began."""
        connection = server()
        self._begun[connection] = self._loop.time()
        self._make_room()
        return connection

    async def _close_overdue(self) -> None:
        """Close connections that are too old, such as those of a client that sends nothing.

        aiohttp itself has no limit for the time that a request may take to arrive.
        """
        while True:
            await asyncio.sleep(_LOOK_S)
            now = self._loop.time()
            for connection in self._others():
                age_s = now - self._begun[connection]
                has_gone = connection.transport is None and age_s > _OPENING_S
                if has_gone or age_s > CONNECTION_S:
                    self._cut(connection)
            self._make_room()

    def _make_room(self) -> None:
        """Close the oldest connections above the limit. One that just comes is not open yet."""
        others = [each for each in self._others() if each.transport is not None]
        for connection in others[: max(len(others) - MOST_CONNECTIONS, 0)]:
            self._cut(connection)

    def _others(self) -> list[Connection]:
        """Return the connections that carry no stream, the oldest first."""
        streams = self._routes.connections
        return [each for each in self._begun if each not in streams]

    def _cut(self, connection: Connection) -> None:
        del self._begun[connection]
        if connection.transport is not None:
            connection.transport.abort()
