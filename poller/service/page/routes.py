"""The routes of the page.

| path | answer |
| --- | --- |
| `/` | the page |
| `/stream` | server-sent events: `events` (`rows`, `skipped`) and `state` |
| `/events/NUMBER` | the calls of one event, and its record if the settings show it |
| `/state` | the same as the event `state` |
| `/history` | the samples of the last hour |
| `/dead-letters?after=ID&reason=R` | the dead letters, and the tokens of their actions |
| `/dead-letters/ID` | one dead letter |
| `POST /dead-letters/replay`, `POST /dead-letters/discard` | an action |
"""

import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from poller import __version__
from poller.service.page.access import Access
from poller.service.page.actions import Actions
from poller.service.page.guard import explain_failure, guard_of, set_headers
from poller.service.page.numbers import SAMPLE_S
from poller.service.page.parts import PageParts
from poller.service.page.viewers import Viewers
from poller.service.watching.rows import detail_of, row_of

MOST_REQUEST_BYTES = 16_384
_FOLDER = Path(__file__).parent
_JAVASCRIPT, _CSS, _SVG = "text/javascript", "text/css", "image/svg+xml"
_TYPES = {".js": _JAVASCRIPT, ".css": _CSS, ".svg": _SVG}


class Routes:
    """The pages, the streams and the actions. Used within one event loop."""

    def __init__(self, parts: PageParts, access: Access) -> None:
        self._parts = parts
        self._access = access
        self._actions = Actions(parts.dead_letters, access)
        self.viewers = Viewers(self._rows, lambda: parts.feed.last, parts.state, parts.feed.run)
        self._templates = Environment(
            loader=FileSystemLoader(_FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
        )
        self._static = {path.name: path for path in (_FOLDER / "static").iterdir()}

    def application(self) -> web.Application:
        application = web.Application(
            middlewares=[explain_failure, guard_of(self._access)],
            client_max_size=MOST_REQUEST_BYTES,
        )
        application.on_response_prepare.append(set_headers)
        application.add_routes(
            [
                web.get("/", self.index),
                web.get("/static/{name}", self.static),
                web.get("/stream", self.stream, allow_head=False),
                web.get("/events/{number:[0-9]{1,15}}", self.event),
                web.get("/state", self.state),
                web.get("/history", self.history),
                *self._actions.routes(),
            ]
        )
        return application

    async def index(self, request: web.Request) -> web.StreamResponse:
        del request
        page = self._templates.get_template("index.html")
        text = page.render(show=self._parts.show, version=__version__)
        return web.Response(text=text, content_type="text/html")

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Return a file of the program. The name is looked up, and never joined to a path."""
        path = self._static.get(request.match_info["name"])
        if path is None or path.suffix not in _TYPES:
            raise web.HTTPNotFound
        body = await asyncio.to_thread(path.read_bytes)
        return web.Response(body=body, content_type=_TYPES[path.suffix], charset="utf-8")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send events as they are settled. The ninth viewer gets 503."""
        if self.viewers.is_full:
            text = "8 viewers look already: close a page first\n"
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, text=text)
        return await self.viewers.serve(request)

    async def sample(self) -> None:
        """Take a sample of the numbers from time to time, until cancelled."""
        while True:
            self._parts.numbers.take_sample()
            await asyncio.sleep(SAMPLE_S)

    async def event(self, request: web.Request) -> web.StreamResponse:
        """Return the calls of one event, and with `show = "all"` its record."""
        parts = self._parts
        settled = parts.feed.event(int(request.match_info["number"]))
        if settled is None:
            raise web.HTTPNotFound(reason="the page keeps the last 1,000 events")
        return web.json_response(detail_of(settled, parts.show, parts.encode))

    async def state(self, request: web.Request) -> web.StreamResponse:
        del request
        return web.json_response(await asyncio.to_thread(self._parts.state))

    async def history(self, request: web.Request) -> web.StreamResponse:
        """Return the samples of the last hour."""
        del request
        return web.json_response({"samples": self._parts.numbers.samples})

    def _rows(self, after: int, most: int) -> list[dict[str, Any]]:
        parts = self._parts
        return [row_of(each, parts.show) for each in parts.feed.after(after, most=most)]
