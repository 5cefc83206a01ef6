"""Which events count as what, where users differ; the defaults are right where Auth0's log alone is not."""

from collections.abc import Mapping
from dataclasses import dataclass

from poller.core.privacy import PLAIN, Privacy

SIGNUP = "ss"
SSO_LOGIN = "s"

LOGIN_TYPES: Mapping[str, str | None] = {
    "s": None,
    "sepft": None,
    "sens": None,
    "scoa": "an `s` of the authorization that follows it is logged too",
    "ssa": "it is a silent authentication on a session that an `s` began",
    "seacft": "it follows every `s` of a code flow, a second or so later",
    "sercft": "it completes a login that `sepft` logs too",
    "seotpft": "it completes a login that `sepft` logs too",
    "seoobft": "it completes a login that `sepft` logs too",
    "sepkotpft": None,
    "sepkoobft": None,
    "sepkrcft": None,
}
"""The log event types that may be counted as logins, and why one would count some logins twice.

`s` is every interactive login and every one on an existing session; `sepft` the password grant, `sens` a native social
login, `sepk…` the second step after a passkey grant (Auth0 docs: Log Event Type Codes; Auth0 community, 82447).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`login_types`: what is tracked as a login. `include_sso_logins`: also those on an existing session.

    `derive_signups`: a first login by a connection for which Auth0 logs no signup is a signup too.
    `include_api_signups`: also users made through the Management API or the dashboard. `privacy`: how people leave.
    """

    login_types: frozenset[str] = frozenset({"s"})
    include_sso_logins: bool = True
    derive_signups: bool = True
    include_api_signups: bool = True
    privacy: Privacy = PLAIN

    @property
    def types(self) -> frozenset[str]:
        """The log event types of interest."""
        return self.login_types | {SIGNUP}


DEFAULT = Rules()
