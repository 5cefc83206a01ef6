"""The guard before every route of the page: hosts, origins, the cookie, and the headers."""

from http import HTTPStatus

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from poller.service.page.access import Access

COOKIE_S = 30 * 24 * 3600
"""The age of the cookie, in seconds. A new token ends it earlier."""
REQUEST_S = 30.0
"""The time for a request and its answer. The stream of events has no such limit."""
OPEN_PATHS = ("/static/",)
"""The paths that need no cookie. Nothing below them depends on data."""

log = structlog.get_logger()

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_MISDIRECTED = "ask by 127.0.0.1, [::1] or localhost: this address answers to no other Host\n"
_OTHER_ORIGIN = "another web site sent this request\n"
_SIGN_IN = "open the link that this command prints: auth0-segment-poller page url\n"


async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers of every answer. One connection serves one request."""
    del request
    response.headers.update(_HEADERS)
    response.headers["Server"] = "auth0-segment-poller"
    response.headers["Connection"] = "close"
    response.force_close()


def guard_of(access: Access) -> Middleware:
    """Return the middleware that refuses whoever may not read the page."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not access.is_own_host(request.headers.getall("Host", [])):
            return _refusal(HTTPStatus.MISDIRECTED_REQUEST, _MISDIRECTED)
        if not access.is_own_origin(request.headers.get("Origin"), request.host):
            return _refusal(HTTPStatus.FORBIDDEN, _OTHER_ORIGIN)
        if request.path.startswith(OPEN_PATHS):
            return await handler(request)
        if access.is_token(request.query.get("token", "")):
            return _signed_in(request, access)
        if not access.is_signed_in(request.cookies):
            return _refusal(HTTPStatus.UNAUTHORIZED, _SIGN_IN)
        return await handler(request)

    return guard


@web.middleware
async def explain_failure(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 500 to whatever fails. A bug of the page must not hurt the daemon."""
    try:
        return await handler(request)
    except web.HTTPException as answer:
        return _refusal(HTTPStatus(answer.status), f"{answer.reason}\n")
    except Exception as error:  # noqa: BLE001 - the text may hold a person
        log.warning("live_page.failed", error=type(error).__name__)
        return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "it failed\n")


def _signed_in(request: web.Request, access: Access) -> web.StreamResponse:
    """Set the cookie, and lead to the same path without the token."""
    response = web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": request.path})
    response.set_cookie(
        access.cookie_name,
        access.cookie,
        max_age=COOKIE_S,
        path="/",
        httponly=True,
        samesite="Strict",
        secure=request.headers.get("X-Forwarded-Proto") == "https",
    )
    return response


def _refusal(status: HTTPStatus, text: str) -> web.Response:
    return web.Response(status=status, text=text)
