"""Access tokens for the Management API.

A token is used until shortly before its end, and renewed when it stops working.
"""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import jwt
from auth0.authentication.client_authentication import add_client_authentication

from poller.adapters.auth0.verdicts import SERVICE, in_between
from poller.adapters.http import Answer, Http
from poller.adapters.parsing import parse_lifetime
from poller.core.errors import FatalError, TransientError, UnusableAnswerError

_EARLY_S = 60.0
"""A token is renewed this long before it ends."""
_UNSTATED_LIFETIME = timedelta(hours=1)
"""The lifetime that is assumed if the answer states none.

A token that ends sooner is renewed when Auth0 refuses it.
"""
_OK, _FORBIDDEN = 200, 403
_REFUSED = {400, 401, 403}
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")
_LONGEST_DESCRIPTION = 300
_CANONICAL = ".auth0.com"
_TOKEN = re.compile(r"[!-~]{1,16384}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The application, with a client secret or the private key of a private-key JWT in PEM."""

    domain: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token, and its end by the monotonic clock.

    `scopes` are None if the answer does not state them (RFC 6749, 5.1, makes `scope` optional).
    """

    value: str = field(repr=False)
    scopes: frozenset[str] | None
    expires_at: float


@dataclass(slots=True, kw_only=True)
class TokenPlace:
    """The place of the token in force. Token sources with the same credentials may share it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    token: Token | None = field(default=None, repr=False)


class TokenSource:
    """The token in force. Thread-safe.

    The SDK adds the secret or the signed assertion to the request, and our client sends it. The
    SDK's own token provider renews neither on 401 nor on 403, and follows redirects with the
    secret (auth0-python 6.8, read and run).
    """

    def __init__(
        self,
        credentials: Credentials,
        http: Http,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        place: TokenPlace | None = None,
    ) -> None:
        self._credentials = credentials
        self._http = http
        self._monotonic = monotonic
        self._place = place or TokenPlace()

    def current(self) -> Token:
        """Return the token in force. Fetch a token if there is none.

        Raises:
            TransientError: the token endpoint cannot answer now.
            FatalError: the token endpoint refuses the credentials, or the key cannot sign.
        """
        with self._place.lock:
            token = self._place.token
            if token is None or self._monotonic() >= token.expires_at:
                token = self._place.token = self._fetch()
            return token

    def renew(self, stale: Token) -> Token:
        """Return a token other than `stale`.

        Scopes are fixed when a token is issued, so a new grant needs a new token.

        Raises:
            TransientError, FatalError: for the same reasons as in `current`.
        """
        with self._place.lock:
            token = self._place.token
            if token is None or token.value == stale.value:
                token = self._place.token = self._fetch()
            return token

    def _fetch(self) -> Token:
        requested_at = self._monotonic()
        answer = self._grant()
        if answer.status != _OK:
            raise _refusal(answer, self._credentials)
        body = answer.json_object
        value, scope = body.get("access_token"), body.get("scope")
        if not (isinstance(value, str) and _TOKEN.fullmatch(value)):
            raise UnusableAnswerError(
                "Auth0's token endpoint answered 200 without a token"
                if body
                else in_between(answer),
                service=SERVICE,
            )
        lifetime_s = (parse_lifetime(body.get("expires_in")) or _UNSTATED_LIFETIME).total_seconds()
        # A lifetime under two minutes is used up to its half, or the margin would leave nothing.
        expires_at = requested_at + max(lifetime_s - _EARLY_S, lifetime_s / 2)
        scopes = frozenset(scope.split()) if isinstance(scope, str) else None
        return Token(value=value, scopes=scopes, expires_at=expires_at)

    def _grant(self) -> Answer:
        return self._http.call("POST", "/oauth/token", json=self._request())

    def _request(self) -> dict[str, str]:
        """Return the request of the client-credentials grant (RFC 6749, 4.4.2)."""
        credentials = self._credentials
        request = {
            "client_id": credentials.client_id,
            "audience": f"https://{credentials.domain}/api/v2/",
            "grant_type": "client_credentials",
        }
        try:
            return add_client_authentication(
                request,
                credentials.domain,  # the audience of the assertion, with auth0.base_url too
                credentials.client_id,
                credentials.client_secret,
                credentials.private_key,
                None,
            )
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise FatalError(
                f"the private key cannot sign ({type(error).__name__})",
                code="auth0-private-key-unusable",
                hint="auth0.private_key_file must be the RSA private key, in PEM, "
                "whose public key the application has",
            ) from None


def _refusal(answer: Answer, credentials: Credentials) -> TransientError | FatalError:
    """Return the verdict on an answer without a token. It is final only if Auth0 answered."""
    code, description = _own_error(answer, credentials)
    if not code:
        return TransientError(in_between(answer), retry_after=answer.retry_after, service=SERVICE)
    if answer.status not in _REFUSED:
        return TransientError(
            f"Auth0's token endpoint answered {answer.status} ({code})",
            retry_after=answer.retry_after,
            service=SERVICE,
        )
    reason = f"{code}: {description}" if description else code
    return FatalError(
        f"Auth0 refused the credentials (status {answer.status}, {reason})",
        code="auth0-credentials-refused",
        hint=_hint(answer.status, code, credentials),
    )


def _own_error(answer: Answer, credentials: Credentials) -> tuple[str, str]:
    """Return the error code and description of Auth0, or empty texts if something else answered.

    Auth0 answers in the form of RFC 6749, 5.2, always with a description (recordings). People get
    to see the description. So it is cut short, and it loses the secret and all characters that a
    terminal would act on.
    """
    body = answer.json_object
    code, description = body.get("error"), body.get("error_description")
    if not (isinstance(code, str) and _ERROR_CODE.fullmatch(code) and isinstance(description, str)):
        return "", ""
    shown = "".join(each for each in description[:_LONGEST_DESCRIPTION] if each.isprintable())
    secret = credentials.client_secret
    return code, shown.replace(secret, "…") if secret else shown


def _hint(status: int, code: str, credentials: Credentials) -> str:
    """Return what to do, by the status and the error code, or else by the settings."""
    if code == "unauthorized_client":
        return (
            "allow the application the grant type Client Credentials "
            "(Auth0: Applications > Advanced > Grant Types)"
        )
    if status != _FORBIDDEN or code not in {"access_denied", "invalid_grant"}:
        return "check auth0.domain, auth0.client_id and auth0.client_secret (or the private key)"
    if not credentials.domain.endswith(_CANONICAL):
        return (
            "auth0.domain must be the tenant's own name, such as acme.us.auth0.com, also if it "
            "has a custom domain: tokens are issued for that name. Requests go to the custom "
            "domain by auth0.base_url"
        )
    return (
        "authorize the application for the Auth0 Management API, with read:logs and read:users "
        "(Auth0: Applications > APIs > Auth0 Management API > Application Access)"
    )
