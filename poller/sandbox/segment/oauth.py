"""The authorization server of Segment's OAuth, over HTTP, for one application."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from poller.sandbox.auth0.api import dated
from poller.sandbox.clock import Clock
from poller.sandbox.faults import Faults

_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LONGEST_ASSERTION = timedelta(minutes=1)
_EARLY = timedelta(seconds=5)


class OAuthServer:
    """The application, its key, and the tokens that it was given. Tests change the fields."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.client_id = "sandboxOAuthApp"
        self.key_id = "sandboxKeyId"
        self.scope = "tracking_api:write"
        self.lifetime = timedelta(days=1)
        self.audience = ""
        self._expiries: dict[str, datetime] = {}
        self._assertions: set[str] = set()

    @cached_property
    def _key(self) -> RSAPrivateKey:
        return generate_private_key(public_exponent=65537, key_size=2048)

    @property
    def private_key(self) -> str:
        """The private key of the application, in PEM. It is made when it is first asked for."""
        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self._key.private_bytes(*form).decode()

    def revoke(self) -> None:
        """Let no token that was given so far serve any longer."""
        self._expiries.clear()

    def accepts(self, token: str) -> bool:
        """Return whether the token serves now."""
        expires_at = self._expiries.get(token)
        return expires_at is not None and self.clock.now() < expires_at

    def grant(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Answer a request for a token."""
        if form.get("grant_type") != "client_credentials":
            return _refused("unsupported_grant_type", "")
        if form.get("client_assertion_type") != _ASSERTION_TYPE:
            return _refused("invalid_request", "client_assertion_type is wrong")
        if form.get("scope") != self.scope:
            return _refused("invalid_scope", "the scope is not the application's")
        wrong = self._wrong_with(form.get("client_assertion", ""))
        if wrong is not None:
            return _refused(*wrong)
        token = f"sandboxOAuthToken{secrets.token_hex(8)}"
        self._expiries[token] = self.clock.now() + self.lifetime
        lifetime_s = int(self.lifetime.total_seconds())
        return 200, {"access_token": token, "expires_in": lifetime_s, "token_type": "Bearer"}

    def _wrong_with(self, assertion: str) -> tuple[str, str] | None:
        """Return the error and its description, or None for an assertion that is as it must be."""
        unchecked = {"verify_exp": False, "verify_iat": False, "verify_aud": False}
        try:
            key_id = jwt.get_unverified_header(assertion).get("kid")
            options: Any = unchecked
            claims = jwt.decode(
                assertion, self._key.public_key(), algorithms=["RS256"], options=options
            )
            issued = datetime.fromtimestamp(claims["iat"], UTC)
            expires = datetime.fromtimestamp(claims["exp"], UTC)
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            return "invalid_client", "the assertion cannot be verified"
        if key_id != self.key_id or claims.get("aud") != self.audience:
            return "invalid_client", "the key or the audience is another's"
        if {claims.get("iss"), claims.get("sub")} != {self.client_id}:
            return "invalid_client", "the application is another"
        return self._wrong_times(issued, expires) or self._used(str(claims.get("jti")))

    def _wrong_times(self, issued: datetime, expires: datetime) -> tuple[str, str] | None:
        if expires - issued > _LONGEST_ASSERTION:
            return "invalid_client", "the assertion is valid for too long"
        if self.clock.now() > expires:
            return "invalid_request", "Token is expired"
        if self.clock.now() < issued - _EARLY:
            return "invalid_request", "Token used before issued"
        return None

    def _used(self, assertion_id: str) -> tuple[str, str] | None:
        if assertion_id in self._assertions:
            return "invalid_client", "the assertion was used before"
        self._assertions.add(assertion_id)
        return None


class OAuthApi:
    """Serves the token endpoint."""

    def __init__(self, server: OAuthServer, faults: Faults) -> None:
        self._server = server
        self._faults = faults

    def application(self) -> web.Application:
        application = web.Application(middlewares=[self._faults.middleware("oauth")])
        application.on_response_prepare.append(dated(self._server.clock))
        application.add_routes([web.post("/token", self._grant)])
        return application

    async def _grant(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        status, body = self._server.grant(form)
        return web.Response(status=status, text=json.dumps(body), content_type="application/json")


def _refused(code: str, description: str) -> tuple[int, dict[str, Any]]:
    return 400, {"error": code, "error_description": description}
