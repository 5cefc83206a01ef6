"""One GET to the Management API: the token, the rate limit, the verdict."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from poller.adapters.auth0.tokens import TokenSource
from poller.adapters.http import Answer, Http
from poller.adapters.parsing import LONGEST_WAIT
from poller.core.errors import FatalError, TransientError
from poller.core.ports import Budget

_OK, _BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 400, 401, 403, 404
_TOO_MANY = 429
_TRANSIENT = {408, _TOO_MANY}
_SERVER_ERROR = 500
_SCOPE = re.compile(r"\b(?:read|create|update|delete):[a-z_]+\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A parsed answer; `value` is None for what is not there (404). The times are those of the `Answer`."""

    value: Any = field(repr=False)
    at: datetime
    believed_at: datetime | None = None
    date: datetime | None = None
    next_url: str | None = field(default=None, repr=False)


class ManagementApi:
    """The tenant's API at one origin. Thread-safe."""

    def __init__(self, http: Http, tokens: TokenSource, budget: Budget) -> None:
        self._http = http
        self._tokens = tokens
        self._budget = budget

    def get(self, path: str, params: dict[str, str], *, bucket: str, may_miss: bool = False) -> Reply:
        """One GET of `/api/v2/{path}`; a token that is refused is renewed once.

        With `may_miss`, 404 and 400 are no value.

        Raises:
            TransientError: 429, 5xx, no JSON, no answer.
            FatalError: the token is refused for good, or the request is; 404 too unless `may_miss`.
        """
        token = self._tokens.current()
        answer = self._attempt(path, params, token.value, bucket)
        if _is_token_refused(answer):
            answer = self._attempt(path, params, self._tokens.renew(token).value, bucket)
        # An id that is none of Auth0's own making is refused as such; nobody has it either.
        if may_miss and answer.status in {_NOT_FOUND, _BAD_REQUEST} and not _is_token_refused(answer):
            return Reply(value=None, at=answer.at, believed_at=answer.believed_at, date=answer.date)
        _check(answer, path=bucket)
        try:
            value = answer.json()
        except ValueError:
            raise TransientError(f"Auth0 answered {bucket} with what is not JSON") from None
        return Reply(
            value=value, at=answer.at, believed_at=answer.believed_at, date=answer.date, next_url=_next_url(answer)
        )

    def dated(self, reply: Reply, newest: datetime | None, *, is_end: bool) -> Reply:
        """Return the reply dated by its newest log event too, which was in the log before the answer was.

        With `is_end` that event is the newest of the whole log: where it is about as young as the answer's `Date`,
        the `Date` is believed.
        """
        if newest is None or reply.believed_at is not None:
            return reply
        believed_at = self._http.clock.observe_log(reply.date, newest) if is_end and reply.date else None
        return replace(reply, at=believed_at or max(reply.at, newest), believed_at=believed_at)

    def _attempt(self, path: str, params: dict[str, str], token: str, bucket: str) -> Answer:
        self._budget.acquire(bucket)
        try:
            answer = self._http.call(
                "GET", f"/api/v2/{path}", params=params, headers={"Authorization": f"Bearer {token}"}
            )
        except BaseException:
            self._budget.missed(bucket)
            raise
        limit, remaining, reset = (_number(answer, f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset"))
        if limit is None or remaining is None or reset is None:
            self._budget.missed(bucket)
            return answer
        reset_in = _until(reset, answer)
        is_refused = answer.status == _TOO_MANY
        self._budget.observe(bucket, limit=limit, remaining=remaining, reset_in=reset_in, is_refused=is_refused)
        return answer


def _is_token_refused(answer: Answer) -> bool:
    # An opaque token gets a 400 whose error code is "Bearer" (Auth0 community, 11660).
    return answer.status in {_UNAUTHORIZED, _FORBIDDEN} or (
        answer.status == _BAD_REQUEST and _field(answer, "errorCode") == "Bearer"
    )


def _check(answer: Answer, *, path: str) -> None:
    status = answer.status
    if status == _OK:
        return
    if status in _TRANSIENT or status >= _SERVER_ERROR:
        raise TransientError(f"Auth0 answered {path} with {status}", retry_after=_wait(answer))
    if status == _FORBIDDEN:
        scopes = sorted(set(_SCOPE.findall(str(_field(answer, "message")))))
        named = " or ".join(scopes) or "a scope"
        raise FatalError(
            f"Auth0 answered {path} with 403: the token lacks {named}",
            hint=f"grant {named} to the application (Auth0: Applications > APIs > Auth0 Management API)",
        )
    if _is_token_refused(answer):
        raise FatalError(f"Auth0 answered {path} with {status}", hint="check that auth0.domain is the tenant's own")
    raise FatalError(
        f"Auth0 answered {path} with {status}", hint="check auth0.domain and auth0.base_url, and any proxy between"
    )


def _wait(answer: Answer) -> timedelta | None:
    if answer.retry_after is not None:
        return answer.retry_after
    reset = _number(answer, "x-ratelimit-reset")
    return None if reset is None else _until(reset, answer)


def _until(reset: int, answer: Answer) -> timedelta:
    """Return the time until a reset, both by the server's own clock, however wrong that clock is."""
    left = timedelta(seconds=reset - (answer.date or answer.at).timestamp())
    return min(max(left, timedelta()), LONGEST_WAIT)


def _number(answer: Answer, header: str) -> int | None:
    text = answer.headers.get(header, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None  # noqa: PLR2004 - unix seconds


def _field(answer: Answer, name: str) -> object:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body.get(name) if isinstance(body, dict) else None


def _next_url(answer: Answer) -> str | None:
    """The target of the Link whose rel is "next"; there even on an empty page, so never a reason to go on."""
    for target, params in re.findall(r"<([^>]*)>([^,]*)", answer.headers.get("Link", "")):
        if re.search(r'rel="?next"?', params):
            return str(target)
    return None
