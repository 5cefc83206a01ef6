"""A GET to the Management API, with its token, its rate limit and the verdict on the answer."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from poller.adapters.auth0.tokens import TokenSource
from poller.adapters.auth0.verdicts import SERVICE, in_between
from poller.adapters.http import Answer, Http
from poller.adapters.parsing import LONGEST_RETRY_AFTER
from poller.core.errors import FatalError, TransientError, UnusableAnswerError

MAX_RECORDS = 1000
"""The most records in one answer.

The program asks for a tenth of this, so a longer list does not come from Auth0.
"""
_OK, _BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN = 200, 400, 401, 403
_REQUEST_TIMEOUT, _URI_TOO_LONG, _TOO_MANY = 408, 414, 429
_TRANSIENT = {_REQUEST_TIMEOUT, _TOO_MANY}
_SERVER_ERROR = 500
_MOST_DIGITS = 11  # of the time in seconds since 1970
_SCOPE = re.compile(r"\b(?:read|create|update|delete):[a-z_]+\b")
_NEXT_LINK = re.compile(r'<([^<>]*)>\s*;\s*rel="?next"?')
_ERROR_CODE = re.compile(r"\w{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A parsed answer, with the times of the `Answer`.

    `value` is None if Auth0 answered that the thing does not exist. `next_from` is the position
    that the answer's Link header names for the next request, or None.
    """

    value: Any = field(repr=False)
    at: datetime
    believed_at: datetime | None = None
    date: datetime | None = None
    next_from: str | None = None


def _next_from(link: str) -> str | None:
    """Return the parameter `from` of the link to the next page, or None (RFC 8288)."""
    match = _NEXT_LINK.search(link)
    if match is None:
        return None
    try:
        return parse_qs(urlsplit(match[1]).query).get("from", [None])[0]
    except ValueError:  # no URL at all
        return None


class RequestBudget(Protocol):
    """Lets requests through as the tenant's rate limits allow.

    Thread-safe. Each thread has at most one request under way.

    An endpoint is named `logs`, `users` or `stats`, whatever the rest of its path is.
    """

    def acquire(self, endpoint: str) -> None:
        """Block until a request to this endpoint may go out."""
        ...

    def observe(
        self,
        endpoint: str,
        *,
        limit: int,
        remaining: int,
        reset_in: timedelta,
        is_refused: bool = False,
    ) -> None:
        """Take note of the headers of the answer to this thread's request.

        `reset_in` is the time until the next token, by the server's clock. `is_refused` says that
        the answer was a 429.
        """
        ...

    def observe_nothing(self, endpoint: str) -> None:
        """Take note that this thread's request brought no rate-limit headers.

        It had no answer, or an answer without them.
        """
        ...


class ManagementApi:
    """The tenant's API at one origin. Thread-safe."""

    def __init__(self, http: Http, tokens: TokenSource, budget: RequestBudget) -> None:
        self._http = http
        self._tokens = tokens
        self._budget = budget

    def get(
        self,
        path: str,
        params: dict[str, str],
        *,
        endpoint: str,
        absent: frozenset[int] = frozenset(),
    ) -> Reply:
        """Make one GET of `/api/v2/{path}`. Renew the token once if it is refused.

        A status in `absent` is an answer without a value, if Auth0 itself gives it.

        Raises:
            TransientError: 429, 5xx, no answer, or something in between answers.
            UnusableAnswerError: a 200 that is not JSON, or that holds more than was asked for.
            FatalError: Auth0 refuses the new token too, or the request.
        """
        token = self._tokens.current()
        answer = self._attempt(path, params, token.value, endpoint)
        if _is_token_refused(answer):
            answer = self._attempt(path, params, self._tokens.renew(token).value, endpoint)
        is_absent = _is_absent(answer, absent)
        if not is_absent:
            _check(answer, path=endpoint)
        return Reply(
            value=None if is_absent else _value(answer, path=endpoint),
            at=answer.at,
            believed_at=answer.believed_at,
            date=answer.date,
            next_from=_next_from(answer.headers.get("link", "")),
        )

    def dated(self, reply: Reply, newest: datetime | None, *, is_end: bool) -> Reply:
        """Return the reply dated by `newest` too, the time of its newest log event.

        That event was in the log before Auth0 answered, so the answer is not older than the event.
        With `is_end` the event is the newest of the whole log. Then the answer's `Date` is believed
        if the event is about as young as the answer.
        """
        if newest is None or reply.believed_at is not None:
            return reply
        believed_at = (
            self._http.clock.observe_log(reply.date, newest) if is_end and reply.date else None
        )
        return replace(reply, at=believed_at or max(reply.at, newest), believed_at=believed_at)

    def _attempt(self, path: str, params: dict[str, str], token: str, endpoint: str) -> Answer:
        self._budget.acquire(endpoint)
        try:
            answer = self._http.call(
                "GET",
                f"/api/v2/{path}",
                params=params,
                headers={"Authorization": f"Bearer {token}"},
            )
        except BaseException:
            self._budget.observe_nothing(endpoint)
            raise
        limit, remaining, reset = (
            _number(answer, f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset")
        )
        if limit is None or remaining is None or reset is None:
            self._budget.observe_nothing(endpoint)
            return answer
        reset_in = _until(reset, answer)
        is_refused = answer.status == _TOO_MANY
        self._budget.observe(
            endpoint, limit=limit, remaining=remaining, reset_in=reset_in, is_refused=is_refused
        )
        return answer


def _own_error(answer: Answer) -> dict[str, Any]:
    """Return the error if it is Auth0's own, otherwise an empty object.

    The Management API repeats the status in the body, in every recording and in the published
    schema. A proxy, a portal or a firewall on the way does not.
    """
    body = answer.json_object
    if body.get("statusCode") == answer.status:
        return body
    return {}


def _error_code(answer: Answer) -> str:
    code = _own_error(answer).get("errorCode")
    if isinstance(code, str) and _ERROR_CODE.fullmatch(code):
        return code
    return ""


def _is_token_refused(answer: Answer) -> bool:
    # An opaque token gets a 400 whose error code is "Bearer" (Auth0 community, 11660).
    if answer.status == _BAD_REQUEST:
        return _error_code(answer) == "Bearer"
    return answer.status in {_UNAUTHORIZED, _FORBIDDEN} and bool(_own_error(answer))


def _is_absent(answer: Answer, absent: frozenset[int]) -> bool:
    if answer.status not in absent:
        return False
    # A server gives a 414 before it reads the request, so the body is not Auth0's JSON.
    is_own = answer.status == _URI_TOO_LONG or bool(_own_error(answer))
    return is_own and not _is_token_refused(answer)


def _value(answer: Answer, *, path: str) -> Any:
    try:
        # Any user who logs in can nest values deep inside a log event. Such an event must not spoil
        # its whole page, so the page is read at any depth, and core judges each event by itself.
        value = answer.json_of_any_depth() if path == "logs" else answer.json()
    except ValueError:
        raise UnusableAnswerError(in_between(answer), service=SERVICE) from None
    if isinstance(value, list) and len(value) > MAX_RECORDS:
        raise UnusableAnswerError(
            f"Auth0 answered {path} with {len(value)} records in one page", service=SERVICE
        )
    return value


def _check(answer: Answer, *, path: str) -> None:
    status = answer.status
    if status == _OK:
        return
    if status in _TRANSIENT or status >= _SERVER_ERROR:
        raise TransientError(
            f"Auth0 answered {path} with {status}", retry_after=_wait(answer), service=SERVICE
        )
    if not _own_error(answer):
        raise TransientError(in_between(answer), retry_after=answer.retry_after, service=SERVICE)
    code = _error_code(answer)
    message = f"Auth0 answered {path} with {status}" + (f" ({code})" if code else "")
    if status == _FORBIDDEN:
        raise _forbidden(answer, path, message)
    if _is_token_refused(answer):
        raise FatalError(
            message,
            code="auth0-token-refused",
            hint="check that auth0.domain is the tenant's own, such as acme.us.auth0.com",
        )
    raise FatalError(
        message,
        code="auth0-request-refused",
        hint="check auth0.domain and auth0.base_url, and any proxy between",
    )


def _forbidden(answer: Answer, path: str, message: str) -> FatalError:
    """Return the error of a 403: a scope is missing, or something else forbids the request."""
    scopes = sorted(set(_SCOPE.findall(str(_own_error(answer).get("message")))))
    if not scopes and _error_code(answer) != "insufficient_scope":
        return FatalError(
            message,
            code="auth0-request-forbidden",
            hint="the token is good, and something else forbids the request. Look in Auth0 for a "
            "Tenant Access Control List that blocks this machine's address, and for limits of the "
            "tenant's plan",
        )
    named = " or ".join(scopes) or "a scope"
    return FatalError(
        f"Auth0 answered {path} with 403: the token lacks {named}",
        code="auth0-scope-missing",
        hint=f"grant {named} to the application "
        "(Auth0: Applications > APIs > Auth0 Management API)",
    )


def _wait(answer: Answer) -> timedelta | None:
    if answer.retry_after is not None:
        return answer.retry_after
    reset = _number(answer, "x-ratelimit-reset")
    return None if reset is None else _until(reset, answer)


def _until(reset: int, answer: Answer) -> timedelta:
    """Return the time until a reset.

    Both times are the server's own, so the difference is right even if its clock is wrong.
    """
    left = timedelta(seconds=reset - (answer.date or answer.at).timestamp())
    return min(max(left, timedelta()), LONGEST_RETRY_AFTER)


def _number(answer: Answer, header: str) -> int | None:
    text = answer.headers.get(header, "")
    is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return int(text) if is_number else None
