"""The log event types of logins and signups, and the groups of others that users ask for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from poller.core.translation.expressions import Lines

SIGNUP = "ss"
"""The log event type of a signup."""

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
    "secte": None,
}
"""The log event types that may count as logins, and why a type would count some logins twice.

`s` is every interactive login, and every login on an existing session. `sepft` is the password
grant, `sens` a native social login, `sepk…` the second step after a passkey grant, and `secte` a
custom token exchange (Auth0 docs: Log Event Type Codes, and Auth0 community, 82447).
"""

GROUPS: Mapping[str, frozenset[str]] = {
    name: frozenset(types.split())
    for name, types in {
        "logout": "slo",
        "failed_login": "f fp fu fcoa fens fepft fepotpft feotpft feoobft fercft fecte fc",
        "failed_signup": "fs",
        "password_change": "scp",
        "mfa": "gd_auth_succeed gd_auth_failed gd_auth_rejected gd_enrollment_complete "
        "gd_unenroll gd_recovery_succeed gd_recovery_failed gd_otp_rate_limit_exceed "
        "gd_recovery_rate_limit_exceed",
        "blocked": "limit_wc limit_sul limit_mu pwd_leak signup_pwd_leak reset_pwd_leak",
        "email_verified": "sv",
        "deleted_user": "sdu du",
    }.items()
}
"""The log event types of each group (auth0-log-schemas, August 2026). No type is in two groups.

A group holds the end of what a user does, and not the steps on the way: an e-mail that is
sent, or a prompt that is shown, is in no group.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """The track of one more log event type.

    `properties` are put over the preset's. With `is_anonymous`, an event without a user is sent
    under an HMAC of its `user_name`. Otherwise such an event is filtered.
    """

    name: str
    properties: Lines = field(default_factory=dict)
    is_anonymous: bool = False


def group_of(event_type: str) -> str | None:
    """Return the group that holds the type, or None."""
    return next((name for name, types in GROUPS.items() if event_type in types), None)
