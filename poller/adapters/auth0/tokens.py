"""Access tokens for the Management API: one a lifetime, and a new one when the old stops working."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import jwt
from auth0.authentication import GetToken

from poller.adapters.auth0.verdicts import SERVICE, in_between
from poller.adapters.http import Answer, Http
from poller.adapters.parsing import parse_lifetime
from poller.core.errors import FatalError, TransientError, UnusableAnswerError

_EARLY_S = 60.0  # a token is renewed so long before it ends
_UNSTATED_LIFETIME = timedelta(hours=1)
"""Assumed where no lifetime is stated. A token that ends sooner is refused, and renewed then."""
_OK, _FORBIDDEN = 200, 403
_REFUSED = {400, 401, 403}
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")
_LONGEST_DESCRIPTION = 300
_CANONICAL = ".auth0.com"
_TOKEN = re.compile(r"[!-~]{1,16384}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who asks: a client secret, or the private key of a private-key JWT (PEM)."""

    domain: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token, and until when it serves by the monotonic clock.

    `scopes` are what it allows, or None where the answer does not say (RFC 6749, 5.1, makes `scope` optional).
    """

    value: str = field(repr=False)
    scopes: frozenset[str] | None
    expires_at: float


class TokenSource:
    """Hands out the current token; thread-safe.

    The SDK's own provider renews neither on 401 nor on 403 and follows redirects with the secret, so it only builds
    and signs the request here (auth0-python 6.8, read and run).
    """

    def __init__(
        self,
        credentials: Credentials,
        http: Http,
        *,
        monotonic: Callable[[], float] = time.monotonic,
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
        if answer.status != _OK:
            raise _refusal(answer, self._credentials)
        body = answer.json_object
        value, scope = body.get("access_token"), body.get("scope")
        if not (isinstance(value, str) and _TOKEN.fullmatch(value)):
            said = (
                "Auth0's token endpoint answered 200 without a token"
                if body
                else in_between(answer)
            )
            raise UnusableAnswerError(said, service=SERVICE)
        lifetime_s = (parse_lifetime(body.get("expires_in")) or _UNSTATED_LIFETIME).total_seconds()
        # A lifetime under two minutes is used to its half: a margin must not eat it whole.
        expires_at = asked_at + max(lifetime_s - _EARLY_S, lifetime_s / 2)
        scopes = frozenset(scope.split()) if isinstance(scope, str) else None
        return Token(value=value, scopes=scopes, expires_at=expires_at)

    def _grant(self) -> Answer:
        given = self._credentials
        try:
            return _Grant(given, self._http).client_credentials(f"https://{given.domain}/api/v2/")  # type: ignore[no-any-return]  # _Grant returns Answer
        except (jwt.PyJWTError, ValueError, TypeError) as error:  # of the signing: the key is none
            raise FatalError(
                f"the private key cannot sign ({type(error).__name__})",
                code="auth0-private-key-unusable",
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

    def authenticated_post(
        self, url: str, data: dict[str, Any], headers: dict[str, str] | None = None
    ) -> Any:
        del url, headers  # the origin is the client's; JSON is all it needs
        body = self._add_client_authentication(data)
        return self._http.call(
            "POST",
            "/oauth/token",
            json={key: value for key, value in body.items() if value is not None},
        )


def _refusal(answer: Answer, credentials: Credentials) -> TransientError | FatalError:
    """The verdict on an answer without a token: final only where it is Auth0's own."""
    code, description = _own_error(answer, credentials)
    if not code:
        return TransientError(in_between(answer), retry_after=answer.retry_after, service=SERVICE)
    if answer.status not in _REFUSED:
        said = f"Auth0's token endpoint answered {answer.status} ({code})"
        return TransientError(said, retry_after=answer.retry_after, service=SERVICE)
    reason = f"{code}: {description}" if description else code
    return FatalError(
        f"Auth0 refused the credentials (status {answer.status}, {reason})",
        code="auth0-credentials-refused",
        hint=_hint(answer.status, code, credentials),
    )


def _own_error(answer: Answer, credentials: Credentials) -> tuple[str, str]:
    """The error code and Auth0's own description, or empty texts where the answer is not Auth0's own.

    Auth0 answers in the form of RFC 6749, 5.2, always with a description (recordings). The description is shown, and so
    it is cut, freed of characters that a terminal acts on, and of the secret.
    """
    body = answer.json_object
    code, description = body.get("error"), body.get("error_description")
    if not (isinstance(code, str) and _ERROR_CODE.fullmatch(code) and isinstance(description, str)):
        return "", ""
    shown = "".join(each for each in description[:_LONGEST_DESCRIPTION] if each.isprintable())
    secret = credentials.client_secret
    return code, shown.replace(secret, "…") if secret else shown


def _hint(status: int, code: str, credentials: Credentials) -> str:
    """Name the cause by the status and the error code, and by the settings where those are the same."""
    if code == "unauthorized_client":
        return "allow the application the grant type Client Credentials (Auth0: Applications > Advanced > Grant Types)"
    if status != _FORBIDDEN or code not in {"access_denied", "invalid_grant"}:
        return "check auth0.domain, auth0.client_id and auth0.client_secret (or the private key)"
    if not credentials.domain.endswith(_CANONICAL):
        return (
            "auth0.domain must be the tenant's own name, as acme.us.auth0.com, also where it has a custom domain: "
            "tokens are issued for that name. Requests go to the custom domain by auth0.base_url"
        )
    return (
        "authorize the application for the Auth0 Management API, with read:logs and read:users "
        "(Auth0: Applications > APIs > Auth0 Management API > Application Access)"
    )
