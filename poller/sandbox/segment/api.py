"""The collector over HTTP."""

import base64

from aiohttp import web

from poller.sandbox.auth0.api import dated
from poller.sandbox.faults import Faults
from poller.sandbox.segment.collector import Collector
from poller.sandbox.segment.oauth import OAuthServer

_CALLS = {
    "batch": "batch",
    "import": "batch",
    "identify": "identify",
    "track": "track",
    "group": "group",
}
_LARGEST_REQUEST = 64 * 1024 * 1024


class SegmentApi:
    """The endpoints of one collector."""

    def __init__(self, collector: Collector, oauth: OAuthServer, faults: Faults) -> None:
        self._collector = collector
        self._oauth = oauth
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
        if not self._is_admitted(request):
            return web.Response(
                status=401, text='{"success": false}', content_type="application/json"
            )
        kind = _CALLS[request.path.removeprefix("/v1/")]
        status, text, content_type = self._collector.receive(body, key=_key(request), kind=kind)
        return web.Response(status=status, text=text, content_type=content_type)

    def _is_admitted(self, request: web.Request) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer":
            return self._oauth.accepts(token)
        return not self._collector.source.requires_oauth


def _key(request: web.Request) -> str | None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Basic":  # with a Bearer token the key stands in the body
        return None
    try:
        return base64.b64decode(given).decode().partition(":")[0]
    except ValueError:
        return ""
