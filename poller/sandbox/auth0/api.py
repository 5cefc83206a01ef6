"""The tenant over HTTP: the token endpoint and the used part of the Management API."""

import json
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

import jwt
from aiohttp import web

from poller.sandbox.auth0.entries import Entry, User
from poller.sandbox.auth0.error_answers import error_answer, token_error_answer
from poller.sandbox.auth0.limits import Limits
from poller.sandbox.auth0.search import UnknownFieldError, logs_query, user_ids
from poller.sandbox.auth0.tenant import Tenant
from poller.sandbox.clock import Clock
from poller.sandbox.faults import Faults, struck_by

MAX_TAKE, DEFAULT_TAKE = 100, 50
SEARCH_LIMIT = 1000
MAX_TARGET = 4_608
"""The longest path and query, in characters. Above it the answer is 414. Auth0 gives no number."""
_LOGS_SCOPES = ("read:logs", "read:logs_users")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Auth0Api:
    """The endpoints of one tenant. Only the thread of the event loop uses them."""

    def __init__(self, tenant: Tenant, limits: Limits, faults: Faults) -> None:
        self._tenant = tenant
        self._limits = limits
        self._faults = faults
        self._tokens: dict[str, tuple[float, frozenset[str]]] = {}
        self._last_page = "[]"
        self._drawn: dict[str, str] = {}

    def application(self) -> web.Application:
        application = web.Application(
            middlewares=[self._faults.middleware("auth0"), self._limited],
            handler_args={"max_line_size": 65536},
        )
        application.on_response_prepare.append(dated(self._tenant.clock))
        application.add_routes(
            [
                web.post("/oauth/token", self._token),
                web.get("/api/v2/logs", self._logs),
                web.get("/api/v2/logs/{id}", self._log),
                web.get("/api/v2/users", self._search_users),
                web.get("/api/v2/users/{id}", self._user),
                web.get("/api/v2/stats/daily", self._daily),
            ]
        )
        return application

    def revoke_tokens(self) -> None:
        """Make every token worthless that was issued so far."""
        self._tokens.clear()

    # The checks of every request to the Management API

    @web.middleware
    async def _limited(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/api/v2/"):
            return await handler(request)
        endpoint = request.path.split("/")[3]
        passes, headers = self._limits.take(endpoint)
        if not passes:
            self._tenant.record_event("api_limit")
            response: web.StreamResponse = error_answer(
                429, "Global limit has been reached", "too_many_requests"
            )
        else:
            response = self._refusal(request, endpoint) or await handler(request)
        response.headers.update(headers)
        return response

    def _refusal(self, request: web.Request, endpoint: str) -> web.Response | None:
        if len(request.path_qs) > MAX_TARGET:
            return web.Response(status=414, text="URI Too Long")
        given = request.headers.get("Authorization", "")
        if not given:
            return error_answer(401, "Missing authentication")
        if not re.fullmatch(r"Bearer [\w-]+\.[\w-]+\.[\w-]+", given):
            return error_answer(400, "Bad HTTP authentication header format", "Bearer")
        return self._token_refusal(given[len("Bearer ") :], endpoint)

    def _token_refusal(self, token: str, endpoint: str) -> web.Response | None:
        expires_at, scopes = self._tokens.get(token, (None, frozenset()))
        if expires_at is None:
            return error_answer(401, "Invalid token", attributes={"error": "Invalid token"})
        if expires_at <= self._tenant.clock.now().timestamp():
            return error_answer(401, "Expired token received for JSON Web Token validation")
        needed = {"logs": _LOGS_SCOPES, "users": ("read:users",), "stats": ("read:stats",)}[
            endpoint
        ]
        if not scopes & set(needed):
            return error_answer(
                403,
                f"Insufficient scope, expected any of: {','.join(needed)}",
                "insufficient_scope",
            )
        return None

    # Endpoints

    async def _token(self, request: web.Request) -> web.Response:
        try:
            asked = await (
                request.json() if request.content_type == "application/json" else request.post()
            )
        except ValueError:
            asked = {}
        refusal = self._refuse_credentials(asked)
        if refusal is not None:
            return refusal
        lifetime = self._tenant.token_lifetime.total_seconds()
        expires_at = self._tenant.clock.now().timestamp() + lifetime
        token = jwt.encode(
            {"exp": expires_at, "jti": secrets.token_hex(8)}, "0" * 32, algorithm="HS256"
        )
        self._tokens[token] = (expires_at, frozenset(self._tenant.scopes))
        self._tenant.record_event("seccft")
        body = {"access_token": token, "token_type": "Bearer"}
        stated = {"expires_in": lifetime, "scope": " ".join(self._tenant.scopes)}
        return web.json_response(body | stated if self._tenant.states_scope else body)

    def _refuse_credentials(self, asked: Any) -> web.Response | None:
        tenant = self._tenant
        if not isinstance(asked, dict | web.BaseRequest) and not hasattr(asked, "get"):
            return token_error_answer(400, "invalid_request", "Parse error")
        if asked.get("grant_type") != "client_credentials":
            return token_error_answer(403, "unsupported_grant_type", "Unsupported grant type")
        if asked.get("audience") != f"https://{tenant.domain}/api/v2/":
            return token_error_answer(
                403, "access_denied", f"Service not enabled within domain: {asked.get('audience')}"
            )
        known = asked.get("client_id") == tenant.client_id
        assertion = asked.get("client_assertion")
        proven = (
            self._is_signed(assertion)
            if assertion
            else asked.get("client_secret") == tenant.client_secret
        )
        if not known or not proven:
            return token_error_answer(401, "access_denied", "Unauthorized")
        if not tenant.is_granted:
            return token_error_answer(
                403, "access_denied", f"Client is not authorized to access {asked.get('audience')}"
            )
        return None

    def _is_signed(self, assertion: str) -> bool:
        if self._tenant.public_key is None:
            return False
        try:
            claims = jwt.decode(
                assertion,
                self._tenant.public_key,
                algorithms=["RS256"],
                audience=f"https://{self._tenant.domain}/",
            )
        except jwt.PyJWTError:
            return False
        return bool(
            claims.get("iss") == claims.get("sub") == self._tenant.client_id and claims.get("jti")
        )

    async def _logs(self, request: web.Request) -> web.Response:
        position = request.query.get("from")
        if position is None:
            return self._search(request)
        take = min(_number(request, "take", DEFAULT_TAKE), MAX_TAKE)
        entries = self._tenant.after(position, take)
        page = f"[{', '.join(map(self._text, entries))}]"
        fault = struck_by.get()
        if fault == "same_page":
            page = self._last_page
        elif fault == "garbage_records":
            page = '[[], null, 7, "x", {"type": 5}]'
        self._last_page = page
        last = entries[-1].log_id if entries else position
        query = urlencode({"from": last, "take": take})
        return web.json_response(
            text=page,
            headers={"Link": f'<https://{self._tenant.domain}/api/v2/logs?{query}>; rel="next"'},
        )

    def _text(self, entry: Entry) -> str:
        kept = self._drawn.get(entry.log_id)
        if kept is not None:
            return kept
        text = json.dumps(entry.draw(self._tenant.domain))
        if self._tenant.keeps_drawn:
            self._drawn[entry.log_id] = text
        return text

    def _search(self, request: web.Request) -> web.Response:
        page, size = (
            _number(request, "page", 0),
            min(_number(request, "per_page", DEFAULT_TAKE), MAX_TAKE),
        )
        if (page + 1) * size > SEARCH_LIMIT:
            return error_answer(
                400,
                f"Requesting page {page} exceeds the allowed maximum of {SEARCH_LIMIT} records: "
                "please consider searching by checkpoint https://auth0.com/docs/logs/"
                "retrieve-log-events-using-mgmt-api#retrieve-logs-by-checkpoint",
            )
        try:
            holds = logs_query(request.query.get("q", ""))
        except UnknownFieldError as error:
            return error_answer(
                400, f"The search query string has an error: {error}", "invalid_query_string"
            )
        found = [entry for entry in self._tenant.newest() if holds(entry)]
        if request.query.get("sort") == "date:1":
            found.sort(key=_date)
        shown = [
            entry.draw(self._tenant.domain) for entry in found[page * size : (page + 1) * size]
        ]
        if request.query.get("include_totals") == "true":
            envelope = {
                "start": page * size,
                "limit": size,
                "length": len(shown),
                "total": len(shown),
                "logs": shown,
            }
            return web.json_response(envelope)
        return web.json_response(shown)

    async def _log(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        for entry in self._tenant.newest():
            if entry.log_id == wanted:
                return web.json_response(entry.draw(self._tenant.domain))
        return error_answer(404, "Log not found.")

    async def _search_users(self, request: web.Request) -> web.Response:
        now = self._tenant.clock.now()
        field, asked = user_ids(request.query.get("q", ""))
        if any(user_id in self._tenant.unsearchable for user_id in asked):
            return error_answer(400, "The query is not valid", "invalid_query_string")
        if field == "identities.user_id":
            found = self._tenant.users_with_identities(asked)
        else:
            found = [self._tenant.user(user_id) for user_id in asked]
        shown = [
            _fields(request, user)
            for user in found
            if user is not None and user.searchable_at <= now
        ]
        size = min(_number(request, "per_page", DEFAULT_TAKE), MAX_TAKE)
        return web.json_response(shown[:size])

    async def _user(self, request: web.Request) -> web.Response:
        found = self._tenant.user(request.match_info["id"])
        if found is None:
            return error_answer(404, "The user does not exist.", "inexistent_user")
        return web.json_response(_fields(request, found))

    async def _daily(self, request: web.Request) -> web.Response:
        first, last = request.query.get("from", "0"), request.query.get("to", "9" * 8)
        return web.json_response(self._tenant.daily(first, last))


def dated(clock: Clock) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return a hook that dates answers by the clock of the sandbox."""

    async def date(request: web.Request, response: web.StreamResponse) -> None:
        del request
        response.headers["Date"] = format_datetime(clock.now(), usegmt=True)

    return date


def _fields(request: web.Request, user: User) -> dict[str, Any]:
    profile = user.profile()
    wanted = request.query.get("fields")
    if not wanted:
        return profile
    included = request.query.get("include_fields", "true") == "true"
    return {key: value for key, value in profile.items() if (key in wanted.split(",")) == included}


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    return int(text) if text.isdigit() else default


def _date(entry: Entry) -> datetime:
    return entry.date
