"""What an event and the profile beside it show of a login or a signup; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from poller.core.events import LogEvent
from poller.core.outcomes import Profile
from poller.core.text.dates import is_plausible, parse_date
from poller.core.translation.fields import (
    at,
    email_in_log,
    ip_text,
    is_masked_email,
    logins_count,
    text,
    user_id_of,
)
from poller.core.translation.privacy import Privacy

SIGNUP = "ss"
SSO_LOGIN = "s"
FIRST_LOGIN_WITHIN = timedelta(minutes=10)
"""A user who was created so shortly before a login was created by it."""

_DATABASE = "auth0"
"""The provider of every database connection: Auth0 logs an `ss` for its signups."""
_PASSWORDLESS = frozenset({"email", "sms", "passwordless"})
_MAY_LACK_STRATEGY = frozenset(
    {SSO_LOGIN, "scoa", "sens", "sepft", "secte", "sepkotpft", "sepkoobft", "sepkrcft"}
)
"""The types of logins that may create a user and be logged without `strategy`."""

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
    return (
        at(record, "details", "body", "is_signup") is False
        or record.get("client_name") == _GLOBAL_CLIENT
    )


def provider_of(record: Mapping[str, Any], known: Mapping[str, Any]) -> str | None:
    """Return the identity provider of a login, from the event and else from the profile.

    The prefix of a user id names the provider of the account that was created.
    """
    if record.get("strategy_type") == "database":
        return _DATABASE
    told = text(record.get("strategy")) or text(record.get("strategy_type"))
    prefix, sign, _ = (user_id_of(record) or "").partition("|")
    if told or (prefix and sign):
        return told or prefix
    connection = text(record.get("connection"))
    if connection in _PASSWORDLESS:
        return connection
    return _provider_in_profile(known.get("identities"), connection)


def _provider_in_profile(identities: object, connection: str | None) -> str | None:
    """Return the provider of the identity of this connection, else of the first identity."""
    listed = identities if isinstance(identities, list) else []
    of_connection = (each for each in listed if connection and at(each, "connection") == connection)
    return text(at(next(of_connection, listed[0] if listed else None), "provider"))


def may_be_first_login(event: LogEvent, known: Mapping[str, Any] | None = None) -> bool:
    """Tell if the event can be a first login for which Auth0 logs no `ss`.

    `known` holds the fields of the profile, and is None while the profile was not read. Then a
    provider that only the profile could name does not exclude the event.
    """
    record = event.record
    has_strategy = text(record.get("strategy")) or text(record.get("strategy_type"))
    if event.type == SIGNUP or not (has_strategy or event.type in _MAY_LACK_STRATEGY):
        return False
    provider = provider_of(record, known or {})
    if provider is None:
        return known is None
    # Another `s`, with a connection, began the session, unless the login was an embedded passwordless one.
    if provider == _DATABASE or (is_sso(event) and provider not in _PASSWORDLESS):
        return False
    return logins_count(record) in {None, 1}


@dataclass(frozen=True, kw_only=True)
class EventFacts:
    """One event with a date, and the user's profile as far as it could be had; what leaves of it, `privacy` decides.

    `now` is a time that two clocks agree on, or None.
    """

    event: LogEvent
    date: datetime
    profile: Profile | None
    privacy: Privacy
    now: datetime | None = None

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

    def date_in_profile(self, field: str) -> datetime | None:
        """Return a date of the profile if it can be true, else None."""
        return self._believed(self.known.get(field))

    def current_date(self, field: str) -> datetime | None:
        """Return a date of a profile that was read after the event, if it can be true, else None."""
        return self._believed(self.current.get(field))

    def _believed(self, value: object) -> datetime | None:
        date = parse_date(value)
        return date if date is not None and is_plausible(date, now=self.now) else None

    @property
    def is_signup(self) -> bool:
        return self.event.type == SIGNUP

    @cached_property
    def is_first_login(self) -> bool:
        """Whether the login made the user, by a connection for which Auth0 logs no `ss`."""
        if not may_be_first_login(self.event, self.known):
            return False
        created = self.date_in_profile("created_at")
        if created is None:
            return logins_count(self.record) == 1
        return timedelta(0) <= self.date - created <= FIRST_LOGIN_WITHIN

    @property
    def raw_email(self) -> str | None:
        of_profile = text(self.known.get("email"))
        if of_profile and not is_masked_email(of_profile):
            return of_profile
        return email_in_log(self.record)

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

    @cached_property
    def context(self) -> dict[str, Any]:
        """Where it came from: address, browser, organization."""
        organization = text(self.record.get("organization_id"))
        group = {"groupId": organization} if organization else {}
        if self.is_without_browser:
            return group
        ip = self.privacy.of_ip(ip_text(self.record.get("ip")))
        found = {"ip": ip, "userAgent": self.privacy.of_agent(text(self.record.get("user_agent")))}
        return {key: value for key, value in found.items() if value is not None} | group
