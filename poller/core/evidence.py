"""What an event and the profile beside it show of a login or a signup; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from poller.core.calls import Profile
from poller.core.events import LogEvent, parse_date
from poller.core.privacy import Privacy
from poller.core.records import at, email_in_log, ip_text, logins_count, text

SIGNUP = "ss"
SSO_LOGIN = "s"
FIRST_LOGIN_WITHIN = timedelta(minutes=10)
"""A user who was created so shortly before a login was created by it."""

_NO_BROWSER = {"unknown", "other 0.0.0 / other 0.0.0"}
"""User agents of a signup that no browser asked for; the address beside is a server's (recordings, 2021 to 2023)."""
_GLOBAL_CLIENT = "All Applications"
"""The client of users made in the dashboard (recorded 2025)."""


def is_sso(event: LogEvent) -> bool:
    """Whether it is a login on an existing session: such events name no connection and no strategy."""
    named = text(event.record.get("connection")) or text(event.record.get("strategy"))
    return event.type == SSO_LOGIN and not named and logins_count(event.record) is None


def is_made_by_api(event: LogEvent) -> bool:
    """Whether the event's own evidence shows that nobody signed up: see the recordings of 2023 and 2025."""
    record = event.record
    return at(record, "details", "body", "is_signup") is False or record.get("client_name") == _GLOBAL_CLIENT


def may_be_first_login(event: LogEvent) -> bool:
    """Whether the event, as far as it tells, is a first login by any connection but a database's."""
    record = event.record
    strategy = text(record.get("strategy"))
    if event.type == SIGNUP or strategy in {None, "auth0"} or record.get("strategy_type") == "database":
        return False
    return logins_count(record) in {None, 1}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One event with a date, and the user's profile as far as it could be had; what leaves of it, `privacy` decides."""

    event: LogEvent
    date: datetime
    profile: Profile | None
    privacy: Privacy

    @property
    def record(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.event.record
        return found

    @property
    def known(self) -> Mapping[str, Any]:
        """The fields of the profile."""
        return self.profile.fields if self.profile else {}

    @property
    def current(self) -> Mapping[str, Any]:
        """Those of one read after the event: an earlier one would take count and last login back to what they were."""
        return self.known if self.profile and self.profile.read_at >= self.date else {}

    @property
    def is_signup(self) -> bool:
        return self.event.type == SIGNUP

    @cached_property
    def is_first_login(self) -> bool:
        """Whether the login made the user, by a connection for which Auth0 logs no `ss`."""
        if not may_be_first_login(self.event):
            return False
        created = parse_date(self.known.get("created_at"))
        if created is None:
            return logins_count(self.record) == 1
        return timedelta(0) <= self.date - created <= FIRST_LOGIN_WITHIN

    @property
    def raw_email(self) -> str | None:
        return text(self.known.get("email")) or email_in_log(self.record)

    @property
    def email(self) -> str | None:
        """In the shape in which e-mails leave."""
        return self.privacy.of_email(self.raw_email)

    def name(self, field: str) -> str | None:
        """A name from the profile, in the shape in which names leave."""
        return self.privacy.of_name(text(self.known.get(field)), email=self.raw_email)

    @property
    def username(self) -> str | None:
        """A name that was chosen, by the person or the identity provider; the event's own is often something else."""
        in_form = text(at(self.record, "details", "body", "username"))
        chosen = text(self.known.get("username")) or in_form or text(self.known.get("nickname"))
        return self.privacy.of_name(chosen, email=self.raw_email)

    @property
    def picture(self) -> str | None:
        """Auth0's default picture is at Gravatar, under a hash of the e-mail: it leaves only where e-mails do."""
        return text(self.known.get("picture")) if self.privacy.email == "plain" else None

    @property
    def is_without_browser(self) -> bool:
        """Whether it is a signup that a server asked for."""
        agent = self.record.get("user_agent")
        return self.is_signup and isinstance(agent, str) and agent.strip().lower() in _NO_BROWSER

    @property
    def context(self) -> dict[str, Any]:
        """Where it came from: address, browser, organization."""
        organization = text(self.record.get("organization_id"))
        group = {"groupId": organization} if organization else {}
        if self.is_without_browser:
            return group
        ip = self.privacy.of_ip(ip_text(self.record.get("ip")))
        found = {"ip": ip, "userAgent": self.privacy.of_agent(text(self.record.get("user_agent")))}
        return {key: value for key, value in found.items() if value is not None} | group
