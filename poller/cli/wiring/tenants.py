"""The tenants of a process, and what the pipelines of one tenant share."""

import threading
from collections import defaultdict

from poller.adapters.auth0 import Credentials, TokenPlace
from poller.config import Settings
from poller.service.upstream.bucket_belief import TenantLimits


class Tenants:
    """The rate limits and the tokens of a process, one of each per tenant. Thread-safe.

    Pipelines of one tenant thus keep to its rate limit together, and sign in once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: defaultdict[tuple[str, str], TenantLimits] = defaultdict(TenantLimits)
        self._tokens: defaultdict[tuple[str, Credentials], TokenPlace] = defaultdict(TokenPlace)

    def limits_of(self, settings: Settings) -> TenantLimits:
        """Return what is known of the tenant's rate limits."""
        with self._lock:
            return self._limits[settings.auth0.domain, settings.auth0.base_url]

    def token_of(self, settings: Settings, credentials: Credentials) -> TokenPlace:
        """Return the place of the token. Other credentials never get to see it."""
        with self._lock:
            return self._tokens[settings.auth0.base_url, credentials]
