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

A process of many pipelines has these below `/pipelines/NAME`, and others at the top:

| path | answer |
| --- | --- |
| `/` | all pipelines, the worst first |
| `/state` | the same as JSON |
| `/readyz?pipeline=NAME` | whether the pipeline is ready, as the metrics' address answers it |
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from poller import __version__
from poller.service.page.access import Access
from poller.service.page.guard import explain_failure, guard_of, set_headers
from poller.service.page.parts import ManyParts, PageParts
from poller.service.page.pipeline_page import PipelinePage

MOST_REQUEST_BYTES = 16_384
_FOLDER = Path(__file__).parent
_JAVASCRIPT, _CSS, _SVG = "text/javascript", "text/css", "image/svg+xml"
_TYPES = {".js": _JAVASCRIPT, ".css": _CSS, ".svg": _SVG}
_PIPELINE = "/pipelines/{pipeline}"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Routes:
    """The pages, the streams and the actions. Used within one event loop.

    `parts` are those of one pipeline, or of many. The page of one of many begins to work when
    somebody looks at it first.
    """

    def __init__(self, parts: PageParts | ManyParts, access: Access) -> None:
        self._parts = parts
        self._access = access
        self._pages: dict[str, PipelinePage] = {}
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
        application.add_routes([web.get("/static/{name}", self.static)])
        if isinstance(self._parts, PageParts):
            self._page("")
            application.add_routes(self._of_pipeline(""))
        else:
            application.add_routes([*self._of_many(self._parts), *self._of_pipeline(_PIPELINE)])
        return application

    @property
    def connections(self) -> set[web.RequestHandler]:
        """Return the connections of all viewers."""
        return {each for page in self._pages.values() for each in page.viewers.connections}

    def close(self) -> None:
        for page in self._pages.values():
            page.close()

    async def static(self, request: web.Request) -> web.StreamResponse:
        """Return a file of the program. The name is looked up, and never joined to a path."""
        path = self._static.get(request.match_info["name"])
        if path is None or path.suffix not in _TYPES:
            raise web.HTTPNotFound
        body = await asyncio.to_thread(path.read_bytes)
        return web.Response(body=body, content_type=_TYPES[path.suffix], charset="utf-8")

    def _of_pipeline(self, prefix: str) -> list[web.RouteDef]:
        def on(handler: Callable[[PipelinePage], Handler]) -> Handler:
            async def answer(request: web.Request) -> web.StreamResponse:
                return await handler(self._page(request.match_info.get("pipeline", "")))(request)

            return answer

        letters = f"{prefix}/dead-letters"
        return [
            web.get(f"{prefix}/", self._index),
            web.get(f"{prefix}/stream", on(lambda page: page.stream), allow_head=False),
            web.get(f"{prefix}/events/{{number:[0-9]{{1,15}}}}", on(lambda page: page.event)),
            web.get(f"{prefix}/state", on(lambda page: page.state)),
            web.get(f"{prefix}/history", on(lambda page: page.history)),
            web.get(letters, on(lambda page: page.actions.list)),
            web.get(f"{letters}/{{log_id}}", on(lambda page: page.actions.detail)),
            web.post(f"{letters}/{{action:replay|discard}}", on(lambda page: page.actions.act)),
        ]

    async def _index(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("pipeline", "")
        parts = self._page(name).parts
        kept = f"{parts.feed.most:,}"
        return self._rendered("index.html", show=parts.show, pipeline=name, kept=kept)

    def _page(self, name: str) -> PipelinePage:
        """Return the page of a pipeline. It begins anew after a change of the settings."""
        parts = self._parts if isinstance(self._parts, PageParts) else self._parts.find(name)
        page = self._pages.get(name)
        if page is not None and page.parts is not parts:
            del self._pages[name]
            page.close()
            page = None
        if parts is None:
            raise web.HTTPNotFound(reason="no pipeline has this name, or its settings have errors")
        if page is None:
            page = self._pages[name] = PipelinePage(parts, self._access, name)
        return page

    def _of_many(self, parts: ManyParts) -> list[web.RouteDef]:
        async def overview(request: web.Request) -> web.StreamResponse:
            del request
            return self._rendered("overview.html", pipelines=parts.state()["pipelines"])

        async def state(request: web.Request) -> web.StreamResponse:
            del request
            return web.json_response(parts.state())

        async def ready(request: web.Request) -> web.StreamResponse:
            answer = parts.ready(request.query)
            return web.Response(body=answer.body, status=answer.status, content_type="text/plain")

        return [web.get("/", overview), web.get("/state", state), web.get("/readyz", ready)]

    def _rendered(self, template: str, **values: object) -> web.Response:
        text = self._templates.get_template(template).render(version=__version__, **values)
        return web.Response(text=text, content_type="text/html")
