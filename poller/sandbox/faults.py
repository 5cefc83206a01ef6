"""The faults that the simulated services can be told to have."""

import asyncio
import contextlib
import os
import signal
import socket
import struct
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from poller.sandbox.clock import Clock

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ACTIONS = (
    "status",  # answers `status`, `body`, `headers` and does nothing else
    "reset",  # breaks the connection and does nothing
    "hang",  # answers nothing for `seconds`
    "drip",  # does the request, and answers a byte every `seconds`
    "truncate",  # does the request, and breaks the connection in the middle of the answer
    "cut_body",  # does the request, and answers half the body as if it were whole
    "body",  # does the request, and answers `body` with the usual status
    "drop_answer",  # does the request, and breaks the connection instead of an answer
    "same_page",  # answers logs with the page of the request before
    "garbage_records",  # answers logs with unreadable records
    "kill_before",  # kills `pid` and does nothing
    "kill_after",  # does the request, kills `pid`, then answers
)
_REQUESTS_KEPT = 100_000

struck_by: ContextVar[str | None] = ContextVar("struck_by", default=None)
"""The action of the fault that strikes the current request, for faults of its handler."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """A fault of requests to `service` whose path begins with `path`.

    The first `skip` requests pass. Then `times` of them fail, or all of them if it is None. The
    fault strikes only from `begins` to `ends` seconds after it was set, by the sandbox's clock.
    """

    action: str
    service: str = ""
    path: str = "/"
    skip: int = 0
    times: int | None = 1
    begins: float = 0.0
    ends: float | None = None
    status: int = 503
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 3600.0
    pid: int = 0
    set_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"no such action: {self.action}; there are {', '.join(ACTIONS)}")

    def strikes(self, service: str, path: str, now: datetime) -> bool:
        """Return true if the fault strikes this request, and count the request if it matches."""
        if (
            (self.service and self.service != service)
            or not path.startswith(self.path)
            or not self._is_time(now)
        ):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
            return self.times >= 0
        return True

    def _is_time(self, now: datetime) -> bool:
        since = now - (self.set_at or now)
        return timedelta(seconds=self.begins) <= since and (
            self.ends is None or since < timedelta(seconds=self.ends)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request and its answer. `status` is 0 if no whole answer left."""

    at: datetime
    service: str
    method: str
    path: str
    query: dict[str, str]
    status: int
    fault: str | None


class Faults:
    """The current faults, and the requests so far. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.latency_s: dict[str, float] = {}
        """The duration of a request to each service, half of it on the way there."""
        self._faults: list[Fault] = []
        self._seen: deque[Seen] = deque(maxlen=_REQUESTS_KEPT)
        self._lock = threading.Lock()

    def set(self, *faults: Fault) -> None:
        with self._lock:
            for fault in faults:
                fault.set_at = self._clock.now()
                self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def seen(self, service: str = "", path: str = "/") -> list[Seen]:
        """Return the requests so far, oldest first."""
        with self._lock:
            return [
                seen
                for seen in self._seen
                if service in {"", seen.service} and seen.path.startswith(path)
            ]

    def middleware(self, service: str) -> Any:
        """Return the middleware that strikes requests with faults and records every request."""

        @web.middleware
        async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
            latency_s = self.latency_s.get(service, 0.0)
            if not latency_s:
                return await answer(request, handler)
            ends_at = asyncio.get_running_loop().time() + latency_s
            await asyncio.sleep(latency_s / 2)
            response = await answer(request, handler)
            await asyncio.sleep(ends_at - asyncio.get_running_loop().time())
            return response

        async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
            fault = self._due(service, request.path)
            struck_by.set(fault.action if fault else None)
            if fault is not None and fault.action == "hang":
                self._note(service, request, 0, fault)  # at once, because the answer may never come
                return await _act(fault, request, handler)
            status = 0
            try:
                response = await (_act(fault, request, handler) if fault else handler(request))
                status = response.status
            except web.HTTPException as error:
                status = error.status
                raise
            finally:
                self._note(service, request, status, fault)
            return response

        return strike

    def _due(self, service: str, path: str) -> Fault | None:
        now = self._clock.now()
        with self._lock:
            striking = [fault for fault in self._faults if fault.strikes(service, path, now)]
        return striking[0] if striking else None

    def _note(self, service: str, request: web.Request, status: int, fault: Fault | None) -> None:
        seen = Seen(
            at=self._clock.now(),
            service=service,
            method=request.method,
            path=request.path,
            query=dict(request.query),
            status=status,
            fault=fault.action if fault else None,
        )
        with self._lock:
            self._seen.append(seen)


async def _act(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    match fault.action:
        case "status":
            await request.read()
            return web.Response(status=fault.status, text=fault.body, headers=fault.headers)
        case "reset":
            return _broken(request)
        case "hang":
            await asyncio.sleep(fault.seconds)
            return _broken(request)
        case "kill_before":
            _kill(fault.pid)
            return _broken(request)
    response = await handler(request)
    return await _after(fault, request, response)


async def _after(
    fault: Fault, request: web.Request, response: web.StreamResponse
) -> web.StreamResponse:
    body = (
        response.body
        if isinstance(response, web.Response) and isinstance(response.body, bytes)
        else b""
    )
    match fault.action:
        case "drop_answer":
            return _broken(request)
        case "kill_after":
            _kill(fault.pid)
        case "body":
            return web.Response(status=response.status, text=fault.body, headers=fault.headers)
        case "cut_body":
            return web.Response(
                status=response.status, body=body[: len(body) // 2], headers=response.headers
            )
        case "truncate" | "drip":
            return await _piecemeal(fault, request, body)
    return response


async def _piecemeal(fault: Fault, request: web.Request, body: bytes) -> web.StreamResponse:
    """Send the answer byte by byte, or send its first half and break the connection."""
    answer = web.StreamResponse(headers={"Content-Length": str(len(body))})
    await answer.prepare(request)
    if fault.action == "truncate":
        await answer.write(body[: len(body) // 2])
        return _broken(request, answer)
    with contextlib.suppress(ConnectionError):
        for at in range(len(body)):
            await answer.write(body[at : at + 1])
            await asyncio.sleep(fault.seconds)
    return answer


def _broken(request: web.Request, answer: web.StreamResponse | None = None) -> web.StreamResponse:
    """Break the connection with a reset. The returned response goes nowhere."""
    transport = request.transport
    if transport is not None:
        peer = transport.get_extra_info("socket")
        if peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return answer or web.Response(status=500)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
