"""The collector over HTTP."""

import base64

from aiohttp import web

from poller.sandbox.auth0.api import dated
from poller.sandbox.faults import Faults
from poller.sandbox.segment.collector import Collector

_CALLS = {
    "batch": "batch",
    "import": "batch",
    "identify": "identify",
    "track": "track",
    "group": "group",
}
_LARGEST_REQUEST = 64 * 1024 * 1024


class SegmentApi:
    """Serves one collector."""

    def __init__(self, collector: Collector, faults: Faults) -> None:
        self._collector = collector
        self._faults = faults

    def application(self) -> web.Application:
        application = web.Application(
            middlewares=[self._faults.middleware("segment")], client_max_size=_LARGEST_REQUEST
        )
        application.on_response_prepare.append(dated(self._collector.clock))
        application.add_routes([web.post(f"/v1/{path}", self._take) for path in _CALLS])
        return application

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()  # unzipped, if it was zipped
        kind = _CALLS[request.path.removeprefix("/v1/")]
        status, text, content_type = self._collector.receive(body, key=_key(request), kind=kind)
        return web.Response(status=status, text=text, content_type=content_type)


def _key(request: web.Request) -> str | None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Basic":  # with a Bearer token the key stands in the body
        return None
    try:
        return base64.b64decode(given).decode().partition(":")[0]
    except ValueError:
        return ""
