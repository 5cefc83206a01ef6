"""The Public API of the workspace, over HTTP: tokens with roles, pages by cursors, a rate limit."""

import base64
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from poller.sandbox.auth0.api import dated
from poller.sandbox.clock import Clock
from poller.sandbox.faults import Faults
from poller.sandbox.segment.workspace import (
    ADMIN,
    PLAN_ID,
    READ_PLANS,
    READ_SOURCES,
    SimulatedWorkspace,
)

_LARGEST_PAGE = 200
_WINDOW = timedelta(minutes=1)
_VERSIONS = {
    "application/json",
    "*/*",
    *(f"application/vnd.segment.{version}+json" for version in ("v1", "v1beta", "v1alpha")),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PublicApiRoutes:
    """Serves one workspace to one token."""

    def __init__(self, workspace: SimulatedWorkspace, clock: Clock, faults: Faults) -> None:
        self._workspace = workspace
        self._clock = clock
        self._faults = faults
        self._window_began = clock.now()
        self._consumed = 0

    def application(self) -> web.Application:
        application = web.Application(
            middlewares=[self._faults.middleware("public_api"), self._admit]
        )
        application.on_response_prepare.append(dated(self._clock))
        source = "/sources/{id}"
        application.add_routes(
            [
                web.get("/", self._read_workspace),
                web.get("/sources", self._read_sources),
                web.get(source, self._read_source),
                web.get(f"{source}/settings", self._read_settings),
                web.get(f"{source}/connected-destinations", self._read_destinations),
                web.get(f"{source}/connected-warehouses", self._read_warehouses),
                web.get("/tracking-plans/{id}/rules", self._read_rules),
            ]
        )
        return application

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not self._consume():
            return self._too_many()
        token = request.headers.get("Authorization", "")
        is_here = not self._workspace.source.is_elsewhere
        if token != f"Bearer {self._workspace.api_token}" or not is_here:
            return _error(401, "unauthenticated", "The token is invalid")
        if request.headers.get("Accept", "*/*") not in _VERSIONS:
            return _error(406, "not-acceptable", "No such version")
        try:
            answer = await handler(request)
        except web.HTTPNotFound:
            return _error(404, "not-found", "No such resource")
        answer.headers.update(self._rate_headers())
        return answer

    def _consume(self) -> bool:
        now = self._clock.now()
        if now - self._window_began >= _WINDOW:
            self._window_began, self._consumed = now, 0
        self._consumed += 1
        return self._consumed <= self._workspace.points

    def _rate_headers(self) -> dict[str, str]:
        return {
            "X-RateLimit-Consumed": str(self._consumed),
            "X-RateLimit-Remaining": str(max(self._workspace.points - self._consumed, 0)),
            "X-RateLimit-Reset": format_datetime(self._window_began + _WINDOW),
        }

    def _too_many(self) -> web.Response:
        left = self._window_began + _WINDOW - self._clock.now()
        facts = {
            "remainingPoints": 0,
            "msBeforeNext": left // timedelta(milliseconds=1),
            "consumedPoints": self._consumed,
        }
        answer = _error(429, "RequestError", "Too many requests", data=facts)
        answer.headers.update(self._rate_headers())
        return answer

    async def _read_workspace(self, request: web.Request) -> web.Response:
        del request
        name = self._workspace.name
        return _data(workspace={"id": "ws_sandbox", "slug": name.lower(), "name": name})

    async def _read_sources(self, request: web.Request) -> web.Response:
        return self._denied(READ_SOURCES) or _page(
            request, "sources", self._workspace.source_objects()
        )

    async def _read_source(self, request: web.Request) -> web.Response:
        found = self._workspace.source_object(request.match_info["id"])
        if denied := self._denied(READ_SOURCES):
            return denied
        if found is None:
            return _error(404, "not-found", "No such source")
        return _data(source=found, trackingPlanId=PLAN_ID if self._workspace.has_plan else None)

    async def _read_settings(self, request: web.Request) -> web.Response:
        del request
        return self._denied(READ_SOURCES) or _data(settings=self._workspace.source.plan.controls)

    async def _read_destinations(self, request: web.Request) -> web.Response:
        names = self._workspace.connections(self._workspace.source.destinations)
        return self._denied(READ_SOURCES) or _page(request, "destinations", names)

    async def _read_warehouses(self, request: web.Request) -> web.Response:
        names = self._workspace.connections(self._workspace.warehouses)
        return self._denied(READ_SOURCES) or _page(request, "warehouses", names)

    async def _read_rules(self, request: web.Request) -> web.Response:
        if denied := self._denied(READ_PLANS):
            return denied
        if request.match_info["id"] != PLAN_ID or not self._workspace.has_plan:
            return _error(404, "not-found", "No such tracking plan")
        return _page(request, "rules", self._workspace.source.plan.rules)

    def _denied(self, role: str) -> web.Response | None:
        allowed = {role, ADMIN} if role == READ_SOURCES else {role}
        if allowed & self._workspace.roles:
            return None
        return _error(401, "forbidden", "does not have permission to access the resource")


def _page(request: web.Request, name: str, items: list[dict[str, Any]]) -> web.Response:
    count = request.query.get("pagination.count", "10")
    if not (count.isascii() and count.isdigit() and 1 <= int(count) <= _LARGEST_PAGE):
        return _error(
            422, "input-validation", '"pagination.count" is invalid', field="pagination.count"
        )
    cursor = request.query.get("pagination.cursor", "")
    try:
        first = int(base64.b64decode(cursor)) if cursor else 0
    except ValueError:
        return _error(422, "input-validation", '"pagination.cursor" is invalid')
    last = first + int(count)
    pagination: dict[str, Any] = {"current": cursor or _cursor(0), "totalEntries": len(items)}
    if last < len(items):
        pagination["next"] = _cursor(last)
    return _data(**{name: items[first:last], "pagination": pagination})


def _cursor(offset: int) -> str:
    return base64.b64encode(str(offset).encode()).decode()


def _data(**data: Any) -> web.Response:
    return web.Response(text=json.dumps({"data": data}), content_type="application/json")


def _error(status: int, kind: str, message: str, **facts: Any) -> web.Response:
    body = {"errors": [{"type": kind, "message": message, **facts}]}
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")
