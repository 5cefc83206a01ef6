"""The CDN with the published settings of the sources, over HTTP."""

import json

from aiohttp import web

from poller.sandbox.auth0.api import dated
from poller.sandbox.clock import Clock
from poller.sandbox.faults import Faults
from poller.sandbox.segment.source import Source

UNKNOWN = "Cannot GET - Invalid path or write key provided."
"""The body of every 404, from Segment's own tests."""


class CdnApi:
    """The endpoint of the published settings of one source."""

    def __init__(self, source: Source, clock: Clock, faults: Faults) -> None:
        self._source = source
        self._clock = clock
        self._faults = faults

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._faults.middleware("cdn")])
        application.on_response_prepare.append(dated(self._clock))
        application.add_routes([web.get("/{path:.*}", self._read)])
        return application

    async def _read(self, request: web.Request) -> web.Response:
        match request.path.split("/"):
            case ["", "v1", "projects", key, "settings"]:
                settings = self._source.published(key)
            case _:
                settings = None
        if settings is None:
            return web.Response(status=404, text=UNKNOWN)
        return web.Response(text=json.dumps(settings), content_type="application/json")
