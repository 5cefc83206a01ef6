"""The Public API of the workspace, over HTTP: tokens with roles, pages by cursors, a rate limit."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from email.utils import format_datetime

from aiohttp import web

from poller.sandbox.auth0.api import dated
from poller.sandbox.clock import Clock
from poller.sandbox.faults import Faults
from poller.sandbox.segment.api_answers import data, error, page
from poller.sandbox.segment.counting import SourceCounter
from poller.sandbox.segment.workspace import (
    ADMIN,
    PLAN_ID,
    READ_PLANS,
    READ_SOURCES,
    READ_USERS,
    SOURCE_ID,
    SimulatedWorkspace,
)

_WINDOW = timedelta(minutes=1)
_VERSIONS = {
    "application/json",
    "*/*",
    *(f"application/vnd.segment.{version}+json" for version in ("v1", "v1beta", "v1alpha")),
}

PATHS = {"successfully-received", "failed-on-ingest", "filtered-at-source"}
_LONGEST_WINDOW, _KEPT = timedelta(days=14), timedelta(days=30)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PublicApiRoutes:
    """Serves one workspace to one token."""

    def __init__(
        self, workspace: SimulatedWorkspace, counter: SourceCounter, clock: Clock, faults: Faults
    ) -> None:
        self._workspace = workspace
        self._counter = counter
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
                web.get("/delivery-overview/{path}", self._read_delivery),
                web.get("/events/volume", self._read_volume),
                web.get("/suppressions", self._read_suppressions),
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
            return error(401, "unauthenticated", "The token is invalid")
        if request.headers.get("Accept", "*/*") not in _VERSIONS:
            return error(406, "not-acceptable", "No such version")
        try:
            answer = await handler(request)
        except web.HTTPNotFound:
            return error(404, "not-found", "No such resource")
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
        answer = error(429, "RequestError", "Too many requests", data=facts)
        answer.headers.update(self._rate_headers())
        return answer

    async def _read_workspace(self, request: web.Request) -> web.Response:
        del request
        name = self._workspace.name
        return data(workspace={"id": "ws_sandbox", "slug": name.lower(), "name": name})

    async def _read_sources(self, request: web.Request) -> web.Response:
        return self._denied(READ_SOURCES) or page(
            request, "sources", self._workspace.source_objects()
        )

    async def _read_source(self, request: web.Request) -> web.Response:
        found = self._workspace.source_object(request.match_info["id"])
        if denied := self._denied(READ_SOURCES):
            return denied
        if found is None:
            return error(404, "not-found", "No such source")
        return data(source=found, trackingPlanId=PLAN_ID if self._workspace.has_plan else None)

    async def _read_settings(self, request: web.Request) -> web.Response:
        del request
        return self._denied(READ_SOURCES) or data(settings=self._workspace.source.plan.controls)

    async def _read_destinations(self, request: web.Request) -> web.Response:
        names = self._workspace.connections(self._workspace.source.destinations)
        return self._denied(READ_SOURCES) or page(request, "destinations", names)

    async def _read_warehouses(self, request: web.Request) -> web.Response:
        names = self._workspace.connections(self._workspace.warehouses)
        return self._denied(READ_SOURCES) or page(request, "warehouses", names)

    async def _read_rules(self, request: web.Request) -> web.Response:
        if denied := self._denied(READ_PLANS):
            return denied
        if request.match_info["id"] != PLAN_ID or not self._workspace.has_plan:
            return error(404, "not-found", "No such tracking plan")
        return page(request, "rules", self._workspace.source.plan.rules)

    async def _read_delivery(self, request: web.Request) -> web.Response:
        if not self._counter.has_delivery_overview or request.match_info["path"] not in PATHS:
            raise web.HTTPNotFound
        return self._counts(request, request.match_info["path"], "sourceId", "dataset")

    async def _read_volume(self, request: web.Request) -> web.Response:
        return self._counts(request, "successfully-received", "sourceId.0", "result")

    def _counts(self, request: web.Request, path: str, source: str, name: str) -> web.Response:
        if denied := self._denied(READ_SOURCES):
            return denied
        if request.query.get(source) != SOURCE_ID:
            return error(404, "not-found", "No such source")
        window = window_of(request, self._clock.now())
        if window is None:
            return error(422, "input-validation", '"startTime" is invalid', field="startTime")
        return page(request, name, self._counter.dataset(path, groups_of(request), *window))

    async def _read_suppressions(self, request: web.Request) -> web.Response:
        suppressed = sorted(self._counter.suppressed_users)
        entries = [{"subjectType": "USER_ID", "subjectIds": [user]} for user in suppressed]
        return self._denied(READ_USERS) or page(request, "suppressed", entries)

    def _denied(self, role: str) -> web.Response | None:
        allowed = {role, ADMIN} if role == READ_SOURCES else {role}
        if allowed & self._workspace.roles:
            return None
        return error(401, "forbidden", "does not have permission to access the resource")


def window_of(request: web.Request, now: datetime) -> tuple[datetime, datetime] | None:
    """Return the window of a request by the hour, or None if Segment would refuse it."""
    try:
        begin, end = (
            datetime.fromisoformat(request.query[name]) for name in ("startTime", "endTime")
        )
        is_valid = timedelta() < end - begin <= _LONGEST_WINDOW and begin >= now - _KEPT
    except (KeyError, ValueError, TypeError):
        return None
    if is_valid and request.query.get("granularity") == "HOUR":
        return (begin, end)
    return None


def groups_of(request: web.Request) -> list[str]:
    """Return the fields by which the counts are asked for."""
    names = sorted(name for name in request.query if name.startswith("groupBy."))
    return [request.query[name] for name in names]
