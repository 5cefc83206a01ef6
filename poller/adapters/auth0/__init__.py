"""One Auth0 tenant: tokens, the log, the users, the statistics."""

from poller.adapters.auth0.api import ManagementApi
from poller.adapters.auth0.log import Auth0Log
from poller.adapters.auth0.log_search import Auth0LogSearch
from poller.adapters.auth0.stats import Auth0Stats
from poller.adapters.auth0.tokens import Credentials, TokenPlace, TokenSource
from poller.adapters.auth0.users import Auth0Users

__all__ = [
    "Auth0Log",
    "Auth0LogSearch",
    "Auth0Stats",
    "Auth0Users",
    "Credentials",
    "ManagementApi",
    "TokenPlace",
    "TokenSource",
]
