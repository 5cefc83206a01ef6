"""The viewers of the page: browsers that take a stream of server-sent events.

One task reads the feed and the state, encodes what is new once, and gives it to every viewer. The
daemon does not take part in it. A viewer that does not keep up is dropped, and a browser then
connects again by itself, from the last event that it has seen.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from poller.service.watching.feed import MOST_EVENTS

MOST_VIEWERS = 8
TICK_S = 0.25
"""The time between two looks at the feed, in seconds."""
STATE_TICKS = 12
"""The number of ticks between two looks at the state."""
MOST_ROWS_PER_TICK = 250
"""Events of a tick above this number are counted, and not sent. No person can read so many."""
WRITE_S = 10.0
"""The time for a browser to take a chunk. Then it is dropped."""
_QUEUED_CHUNKS = 64
"""The number of chunks that wait for a slow browser. One more drops it."""
PULSE = b": alive\n\n"

Rows = Callable[[int, int], list[dict[str, Any]]]
"""Returns the rows above a number, and at most so many, the newest ones."""
State = Callable[[], dict[str, Any]]


class Viewers:
    """The open streams. Used within one event loop."""

    def __init__(self, rows: Rows, last: Callable[[], int], state: State, run: str) -> None:
        self._rows = rows
        self._run = run
        self._last = last
        self._state = state
        self._queues: dict[asyncio.Queue[bytes], web.Request] = {}
        self._sent = 0
        self._state_chunk = b""

    @property
    def is_full(self) -> bool:
        return len(self._queues) >= MOST_VIEWERS

    @property
    def connections(self) -> set[web.RequestHandler]:
        """Return the connections of the viewers."""
        return {request.protocol for request in self._queues.values()}

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Send one viewer what comes after its last event, until it goes or is dropped."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_CHUNKS)
        if not self._queues:
            self._sent = self._last()
        self._queues[queue] = request
        # The second header keeps nginx from holding events back.
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        )
        try:
            await response.prepare(request)
            await _within(response.write(self._unseen(request)))
            while queue in self._queues:
                await _within(response.write(await _next(queue)))
        except (ConnectionError, TimeoutError):
            _abort(request)
        finally:
            self._queues.pop(queue, None)
        return response

    async def run(self) -> None:
        """Give every viewer what is new, until cancelled."""
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            if not self._queues:
                ticks = 0
                continue
            self._publish(self._new_rows())
            if ticks % STATE_TICKS == 0:
                await self._publish_state()
            ticks += 1

    async def _publish_state(self) -> None:
        self._state_chunk = _chunk("state", await asyncio.to_thread(self._state))
        self._publish(self._state_chunk)

    def _new_rows(self) -> bytes:
        rows = self._rows(self._sent, MOST_ROWS_PER_TICK)
        if not rows:
            return b""
        skipped = rows[0]["number"] - 1 - self._sent
        self._sent = rows[-1]["number"]
        return self._events(rows, skipped=skipped)

    def _unseen(self, request: web.Request) -> bytes:
        """Return what a new viewer has not seen: the events so far, and the state."""
        run, _, number = request.headers.get("Last-Event-ID", "").partition(".")
        is_known = run == self._run and number.isascii() and number.isdigit()
        begun = int(number[:15]) if is_known else 0
        rows = [row for row in self._rows(begun, MOST_EVENTS) if row["number"] <= self._sent]
        return (self._events(rows, skipped=0) if rows else PULSE) + self._state_chunk

    def _events(self, rows: list[dict[str, Any]], *, skipped: int) -> bytes:
        data = {"rows": rows, "skipped": skipped, "run": self._run}
        return _chunk("events", data, f"{self._run}.{rows[-1]['number']}")

    def _publish(self, chunk: bytes) -> None:
        if not chunk:
            return
        for queue, request in [*self._queues.items()]:
            try:
                queue.put_nowait(chunk)
            except asyncio.QueueFull:
                del self._queues[queue]
                _abort(request)


async def _next(queue: asyncio.Queue[bytes]) -> bytes:
    """Return the next chunk, or a pulse after a while, which finds out that a browser has gone."""
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(queue.get(), WRITE_S)
    return PULSE


async def _within(writing: Awaitable[None]) -> None:
    await asyncio.wait_for(writing, WRITE_S)


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _chunk(name: str, data: Any, event_id: str | None = None) -> bytes:
    """Return one server-sent event. Its JSON has no line breaks, so one line holds it."""
    head = f"event: {name}\n" + (f"id: {event_id}\n" if event_id is not None else "")
    return f"{head}data: {json.dumps(data)}\n\n".encode()
