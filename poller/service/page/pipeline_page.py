"""The live page of one pipeline: its events, its state and its dead letters."""

import asyncio
from http import HTTPStatus
from typing import Any

from aiohttp import web

from poller.service.page.access import Access
from poller.service.page.actions import Actions
from poller.service.page.numbers import SAMPLE_S
from poller.service.page.parts import PageParts
from poller.service.page.viewers import Viewers
from poller.service.watching.rows import detail_of, row_of


class PipelinePage:
    """The answers about one pipeline. Used within one event loop. It begins to work at once."""

    def __init__(self, parts: PageParts, access: Access, name: str = "") -> None:
        self.parts = parts
        self.actions = Actions(parts.dead_letters, access, name)
        self.viewers = Viewers(self._rows, lambda: parts.feed.last, parts.state, parts.feed.run)
        self._tasks = [
            asyncio.ensure_future(self.viewers.run()),
            asyncio.ensure_future(self._sample()),
        ]

    def close(self) -> None:
        """End the work. The streams are cut with their connections."""
        for task in self._tasks:
            task.cancel()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send events as they are settled. The ninth viewer gets 503."""
        if self.viewers.is_full:
            text = "8 viewers look already: close a page first\n"
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=text)
        return await self.viewers.serve(request)

    async def event(self, request: web.Request) -> web.StreamResponse:
        """Return the calls of one event, and with `show = "all"` its record."""
        parts = self.parts
        settled = parts.feed.event(int(request.match_info["number"]))
        if settled is None:
            raise web.HTTPNotFound(reason=f"the page keeps the last {parts.feed.most:,} events")
        return web.json_response(detail_of(settled, parts.show, parts.encode))

    async def state(self, request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response(await asyncio.to_thread(self.parts.state))

    async def history(self, request: web.Request) -> web.StreamResponse:
        """Return the samples of the last hour."""
        del request
        return web.json_response({"samples": self.parts.numbers.samples})

    async def _sample(self) -> None:
        """Take a sample of the numbers from time to time, until cancelled."""
        while True:
            self.parts.numbers.take_sample()
            await asyncio.sleep(SAMPLE_S)

    def _rows(self, after: int, most: int) -> list[dict[str, Any]]:
        parts = self.parts
        return [row_of(each, parts.show) for each in parts.feed.after(after, most=most)]
