"""The access to the page: who may read it, and who may act by it.

- The token of the link is known to whoever may read the file beside the ledger. The first request
  with the token sets a cookie, and every other request needs the cookie.
- Every action needs a token of its own, which only a page of this server holds.
- The headers Host and Origin keep other web sites out. The owner of a site can let its name resolve
  to 127.0.0.1 (DNS rebinding), and any site can make a browser send a form to this server.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from poller.service.observability.http_endpoint import is_loopback_name

_TOKEN_BYTES = 32


def new_token() -> str:
    """Return a random token that nobody can guess, safe in a URL."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The secrets of one page, and the checks by them. All comparisons take constant time.

    A browser sends a cookie to every port of a host. So the name of the cookie holds the port, and
    several daemons on one machine do not sign each other out.
    """

    token: str = field(repr=False)
    port: int
    is_loopback: bool

    @property
    def cookie_name(self) -> str:
        return f"poller_page_{self.port}"

    @property
    def cookie(self) -> str:
        """The value of the cookie. It is not the token, and dies with the token."""
        return self._derived("cookie")

    def action_token(self, action: str) -> str:
        """Return the token that a form of this action must hold."""
        return self._derived(f"action {action}")

    def is_token(self, given: str) -> bool:
        return _is_same(given, self.token)

    def is_signed_in(self, cookies: Mapping[str, str]) -> bool:
        return _is_same(cookies.get(self.cookie_name, ""), self.cookie)

    def may_act(self, action: str, given: str) -> bool:
        return _is_same(given, self.action_token(action))

    def is_own_host(self, hosts: list[str]) -> bool:
        """Return whether the request names one host that is ours.

        On loopback only the names of loopback are ours. Elsewhere the names are not known, and the
        cookie, which a browser sends to one name only, keeps other sites out.
        """
        return len(hosts) == 1 and (not self.is_loopback or is_loopback_name(hosts[0]))

    def is_own_origin(self, origin: str | None, host: str) -> bool:
        """Return whether a page of this server sent the request, or no page at all.

        The scheme is not compared, because a proxy may add TLS.
        """
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()

    def _derived(self, purpose: str) -> str:
        return hmac.new(self.token.encode(), purpose.encode(), hashlib.sha256).hexdigest()


def _is_same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())
