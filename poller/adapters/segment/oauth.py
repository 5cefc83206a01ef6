"""OAuth tokens for Segment's tracking API. A signed assertion fetches and renews them.

A source that enforces OAuth takes messages only with such a token (Segment docs: OAuth 2.0). This
module makes the same requests as Segment's own Python library 2.4.0. The library's token manager is
not used, because it starts timers, follows redirects with the assertion, and has no total deadline.
"""

import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

from poller.adapters.http import Answer, Http
from poller.adapters.parsing import parse_lifetime, parse_retry_after
from poller.adapters.segment.verdicts import SERVICE, in_between
from poller.core.errors import FatalError, TransientError, UnusableAnswerError

PATH = "/token"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EARLIER, _VALID_FOR = timedelta(seconds=5), timedelta(seconds=55)
"""The beginning of an assertion before now, and its length.

Segment refuses an assertion that is valid for a minute or longer.
"""
_RETRY_S = 60.0
"""The pause after a renewal that failed, while the old token still works."""
_UNSTATED_LIFETIME = timedelta(hours=1)
_OK = 200
_REFUSED = {400, 401, 403, 415}
_TOKEN = re.compile(r"[!-~]{1,16384}")
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthApp:
    """An OAuth application in Segment.

    `audience` is the URL of the authorization server in the workspace's region.
    """

    client_id: str
    key_id: str
    private_key: str = field(repr=False)
    scope: str
    audience: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthToken:
    """A token. Both times are readings of the monotonic clock, in seconds."""

    value: str = field(repr=False)
    renew_at: float
    expires_at: float


class OAuthTokens:
    """Hands out the current token. Thread-safe.

    A token is renewed at half of its lifetime, as in Segment's library. If the renewal fails, the
    old token serves until its end. An outage of the authorization server is therefore harmless if
    it is shorter than half of the lifetime.
    """

    def __init__(
        self, app: OAuthApp, http: Http, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._app = app
        self._http = http
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._token: OAuthToken | None = None
        self._tried_at = float("-inf")

    def current(self) -> OAuthToken:
        """Return the token in force. Fetch a token if there is none.

        Raises:
            TransientError: there is no token, and the authorization server cannot answer now.
            FatalError: there is no token, and the server refuses the application or the private
                key cannot sign.
        """
        with self._lock:
            now = self._monotonic()
            if self._token is None or now >= self._token.expires_at:
                self._token = self._fetch()
            elif now >= max(self._token.renew_at, self._tried_at + _RETRY_S):
                self._token = self._renewed(self._token)
            return self._token

    def renew(self, refused: OAuthToken) -> OAuthToken:
        """Return a token other than the one that Segment has refused.

        Raises:
            TransientError, FatalError: for the same reasons as `current`.
        """
        with self._lock:
            if self._token is None or self._token.value == refused.value:
                self._token = None
                self._token = self._fetch()
            return self._token

    def _renewed(self, token: OAuthToken) -> OAuthToken:
        self._tried_at = self._monotonic()
        try:
            return self._fetch()
        except (TransientError, FatalError):
            return token

    def _fetch(self) -> OAuthToken:
        asked_at = self._monotonic()
        answer = self._ask()
        if _is_about_clocks(answer):  # the answer has shown how far this host's clock is off
            answer = self._ask()
        if answer.status != _OK:
            raise _refusal(answer)
        body = answer.json_object
        value = body.get("access_token")
        if not (isinstance(value, str) and _TOKEN.fullmatch(value)):
            said = "Segment's authorization server answered 200 without a token"
            raise UnusableAnswerError(said if body else in_between(answer), service=SERVICE)
        lifetime_s = (parse_lifetime(body.get("expires_in")) or _UNSTATED_LIFETIME).total_seconds()
        return OAuthToken(
            value=value, renew_at=asked_at + lifetime_s / 2, expires_at=asked_at + lifetime_s
        )

    def _ask(self) -> Answer:
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": self._assertion(),
            "scope": self._app.scope,
        }
        return self._http.call("POST", PATH, form=form)

    def _assertion(self) -> str:
        """Return a signed assertion with times by the server's clock.

        Before the first answer the server's clock is not known, and the host's clock is used.
        """
        now = datetime.now(UTC) + (self._http.skew or timedelta())
        claims: dict[str, Any] = {
            "iss": self._app.client_id,
            "sub": self._app.client_id,
            "aud": self._app.audience,
            "iat": int((now - _EARLIER).timestamp()),
            "exp": int((now + _VALID_FOR - _EARLIER).timestamp()),
            "jti": str(uuid.uuid4()),
        }
        headers = {"kid": self._app.key_id}
        try:
            return jwt.encode(claims, self._app.private_key, algorithm="RS256", headers=headers)
        except (jwt.PyJWTError, ValueError, TypeError) as error:  # the text is not a key
            raise FatalError(
                f"the private key for Segment cannot sign ({type(error).__name__})",
                code="segment-private-key-unusable",
                hint="segment.oauth_private_key_file must be the RSA private key, in PEM form, "
                "whose public key the OAuth application has",
            ) from None


def _error_code(answer: Answer) -> str:
    """Return the error code in the server's own answer (RFC 6749, 5.2), or an empty text."""
    code = answer.json_object.get("error")
    if isinstance(code, str) and _ERROR_CODE.fullmatch(code):
        return code
    return ""


def _is_about_clocks(answer: Answer) -> bool:
    """Return whether the server refuses the assertion because of its times.

    The error code is the same as for other faults, so the description decides (Segment's Python
    library 2.4.0).
    """
    description = answer.json_object.get("error_description")
    is_refused = answer.status in _REFUSED and _error_code(answer) == "invalid_request"
    return is_refused and description in {"Token is expired", "Token used before issued"}


def _refusal(answer: Answer) -> TransientError | FatalError:
    """Return the error for an answer without a token.

    Only an answer of Segment itself can be final. Any other answer is transient.
    """
    code = _error_code(answer)
    if answer.status not in _REFUSED:
        said = f"Segment's authorization server answered {answer.status}"
        return TransientError(said, retry_after=_wait(answer), service=SERVICE)
    if not code:
        return TransientError(in_between(answer), retry_after=answer.retry_after, service=SERVICE)
    return FatalError(
        f"Segment refused the OAuth application (status {answer.status}, {code})",
        code="segment-oauth-refused",
        hint="check segment.oauth_client_id, oauth_key_id, oauth_scope and the private key, and "
        "that segment.oauth_endpoint is of the workspace's region",
    )


def _wait(answer: Answer) -> timedelta | None:
    """Return the time to wait that the answer asks for, or None.

    `X-RateLimit-Reset` is a number of seconds here (Segment's Python library 2.4.0).
    """
    reset = answer.headers.get("x-ratelimit-reset")
    return answer.retry_after or parse_retry_after(reset, now=answer.at)
