"""The groups of log event types that users ask for, beside logins and signups."""

from collections.abc import Mapping

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


def group_of(event_type: str) -> str | None:
    """Return the group that holds the type, or None."""
    return next((name for name, types in GROUPS.items() if event_type in types), None)
