"""Access tokens for the Management API: one a lifetime, and a new one when the old stops working."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
from auth0.authentication import GetToken

from poller.adapters.http import Answer, Http
from poller.core.errors import FatalError, TransientError

_EARLY_S = 60.0  # a token is renewed so long before it ends
_OK = 200
_REFUSED = {400, 401, 403}


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who asks: a client secret, or the private key of a private-key JWT (PEM)."""

    domain: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token, what it allows, and until when by the monotonic clock."""

    value: str = field(repr=False)
    scopes: frozenset[str]
    expires_at: float


class TokenSource:
    """Hands out the current token; thread-safe.

    The SDK's own provider renews neither on 401 nor on 403 and follows redirects with the secret, so it only builds
    and signs the request here (auth0-python 6.8, read and run).
    """

    def __init__(
        self, credentials: Credentials, http: Http, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._credentials = credentials
        self._http = http
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._token: Token | None = None

    def current(self) -> Token:
        """The token in force, fetched if there is none.

        Raises:
            TransientError: the token endpoint cannot answer now.
            FatalError: it refuses the credentials.
        """
        with self._lock:
            if self._token is None or self._monotonic() >= self._token.expires_at:
                self._token = self._fetch()
            return self._token

    def renew(self, stale: Token) -> Token:
        """A token other than `stale`; scopes are fixed at issue, so a new grant needs a new token."""
        with self._lock:
            if self._token is None or self._token.value == stale.value:
                self._token = self._fetch()
            return self._token

    def _fetch(self) -> Token:
        asked_at = self._monotonic()
        answer = self._grant()
        if answer.status in _REFUSED:
            raise FatalError(f"Auth0 refused the credentials (status {answer.status})", hint=_hint(answer))
        body = _parsed(answer) if answer.status == _OK else {}
        value, lifetime = body.get("access_token"), body.get("expires_in")
        if not (isinstance(value, str) and value.isascii() and isinstance(lifetime, int | float)):
            raise TransientError(
                f"Auth0's token endpoint answered {answer.status} without a token", retry_after=answer.retry_after
            )
        # A lifetime under two minutes is used to its half: a margin must not eat it whole.
        expires_at = asked_at + max(lifetime - _EARLY_S, lifetime / 2)
        return Token(value=value, scopes=frozenset(str(body.get("scope", "")).split()), expires_at=expires_at)

    def _grant(self) -> Answer:
        given = self._credentials
        try:
            return _Grant(given, self._http).client_credentials(f"https://{given.domain}/api/v2/")  # type: ignore[no-any-return]  # _Grant returns Answer
        except (jwt.PyJWTError, ValueError, TypeError) as error:  # of the signing: the key is none
            raise FatalError(
                f"the private key cannot sign ({type(error).__name__})",
                hint="auth0.private_key_file must be the RSA private key, in PEM, whose public key the application has",
            ) from None


class _Grant(GetToken):
    """The SDK's client-credentials request, sent by our client."""

    def __init__(self, credentials: Credentials, http: Http) -> None:
        super().__init__(
            credentials.domain,  # also the audience of the signed assertion, whatever origin is asked
            credentials.client_id,
            client_secret=credentials.client_secret,
            client_assertion_signing_key=credentials.private_key,
        )
        self._http = http

    def authenticated_post(self, url: str, data: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
        del url, headers  # the origin is the client's; JSON is all it needs
        body = self._add_client_authentication(data)
        return self._http.call(
            "POST", "/oauth/token", json={key: value for key, value in body.items() if value is not None}
        )


def _hint(answer: Answer) -> str:
    if _parsed(answer).get("error") == "unauthorized_client":
        return "allow the application the grant type Client Credentials (Auth0: Applications > Advanced > Grant Types)"
    if answer.status == 403:  # noqa: PLR2004 - authenticated, not authorized
        return "authorize the application for the Auth0 Management API, with read:logs and read:users"
    return "check auth0.domain, auth0.client_id and auth0.client_secret (or the private key)"


def _parsed(answer: Answer) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
