"""Facts about a login or a signup, read from the event and from the profile beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from poller.core.events import LogEvent
from poller.core.outcomes import Profile
from poller.core.text.dates import is_plausible, parse_date
from poller.core.translation.event_types import SIGNUP
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

SSO_LOGIN = "s"
FIRST_LOGIN_WITHIN = timedelta(minutes=10)
"""A login made its user if the user was created at most this long before it."""

_DATABASE = "auth0"
"""The provider of every database connection. Auth0 logs an `ss` for the signups of these."""
_PASSWORDLESS = frozenset({"email", "sms", "passwordless"})
_MAY_LACK_STRATEGY = frozenset(
    {SSO_LOGIN, "scoa", "sens", "sepft", "secte", "sepkotpft", "sepkoobft", "sepkrcft"}
)
"""The types of logins that may create a user and be logged without `strategy`."""

_NO_BROWSER = {"unknown", "other 0.0.0 / other 0.0.0"}
"""The user agents of signups that no browser asked for (recordings of 2021 to 2023)."""
_GLOBAL_CLIENT = "All Applications"
"""The client of users who were made in the dashboard (recorded in 2025)."""


def is_sso(event: LogEvent) -> bool:
    """Return whether the event is a login on an existing session.

    Such an event names no connection and no strategy.
    """
    if event.type != SSO_LOGIN:
        return False
    is_named = text(event.record.get("connection")) or text(event.record.get("strategy"))
    return not is_named and logins_count(event.record) is None


def is_without_browser(event: LogEvent) -> bool:
    """Return whether the user agent of the event names no browser."""
    agent = event.record.get("user_agent") if isinstance(event.record, dict) else None
    return isinstance(agent, str) and agent.strip().lower() in _NO_BROWSER


def agent_of(event: LogEvent) -> str | None:
    """Return the id of the agent that acts for the user, or None for a person (Auth0 docs: Agents).

    The schemas of `s`, `sepft`, `secte` and other types have it (auth0-log-schemas, August 2026).
    """
    if isinstance(event.record, dict):
        return text(event.record.get("agent_id"))
    return None


def is_made_by_api(event: LogEvent) -> bool:
    """Return whether the event itself shows that an API call made the user.

    Recordings of 2023 and 2025 show it so.
    """
    record = event.record
    return (
        at(record, "details", "body", "is_signup") is False
        or record.get("client_name") == _GLOBAL_CLIENT
    )


def provider_of(record: Mapping[str, Any], known: Mapping[str, Any]) -> str | None:
    """Return the identity provider of a login, from the event or else from the profile.

    The prefix of a user id names the provider of the account that was created.
    """
    if record.get("strategy_type") == "database":
        return _DATABASE
    strategy = text(record.get("strategy")) or text(record.get("strategy_type"))
    prefix, separator, _ = (user_id_of(record) or "").partition("|")
    if strategy or (prefix and separator):
        return strategy or prefix
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
    """Return whether the event can be a first login for which Auth0 logs no `ss`.

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
    # A login on a session follows another `s`, with a connection, that began the session. Only an
    # embedded passwordless login does not.
    if provider == _DATABASE or (is_sso(event) and provider not in _PASSWORDLESS):
        return False
    return logins_count(record) in {None, 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFacts:
    """An event with a date, and the profile of its user as far as it could be had.

    `privacy` decides in which form personal data leaves. `now` is a time that two clocks agree on,
    or None. `address_of` is the event whose address and browser are the person's, or None if no
    event shows them.
    """

    event: LogEvent
    date: datetime
    profile: Profile | None
    privacy: Privacy
    now: datetime | None = None
    address_of: LogEvent | None = None

    @property
    def record(self) -> Mapping[str, Any]:
        record: Mapping[str, Any] = self.event.record
        return record

    @property
    def known(self) -> Mapping[str, Any]:
        """The fields of the profile."""
        return self.profile.fields if self.profile else {}

    @property
    def current(self) -> Mapping[str, Any]:
        """The fields of a profile that was read after the event, or none.

        The login count and the last login of an older profile are from before the event.
        """
        if self.profile and self.profile.read_at >= self.date:
            return self.known
        return {}

    def date_in_profile(self, field: str) -> datetime | None:
        """Return a date of the profile if it can be true, else None."""
        return self._believed(self.known.get(field))

    def current_date(self, field: str) -> datetime | None:
        """Return a date of a profile that is newer than the event, if it can be true, else None."""
        return self._believed(self.current.get(field))

    def _believed(self, value: object) -> datetime | None:
        date = parse_date(value)
        if date is not None and is_plausible(date, now=self.now):
            return date
        return None

    @property
    def is_logged_signup(self) -> bool:
        """True if Auth0 logged the event as a signup. A signup can also be derived from a login."""
        return self.event.type == SIGNUP

    @property
    def is_sso(self) -> bool:
        return is_sso(self.event)

    @property
    def is_made_by_api(self) -> bool:
        return is_made_by_api(self.event)

    @property
    def logins_count(self) -> int | None:
        """The login count that the event carries."""
        return logins_count(self.record)

    @property
    def is_first_login(self) -> bool:
        """True if the login made the user, by a connection for which Auth0 logs no `ss`."""
        if not may_be_first_login(self.event, self.known):
            return False
        created = self.date_in_profile("created_at")
        if created is None:
            return self.logins_count == 1
        return timedelta(0) <= self.date - created <= FIRST_LOGIN_WITHIN

    @property
    def raw_email(self) -> str | None:
        """The e-mail before privacy is applied. A masked one in the profile is not taken."""
        of_profile = text(self.known.get("email"))
        if of_profile and not is_masked_email(of_profile):
            return of_profile
        return email_in_log(self.record)

    @property
    def email(self) -> str | None:
        """The e-mail in the form in which e-mails leave."""
        return self.privacy.of_email(self.raw_email)

    def name(self, field: str) -> str | None:
        """Return a name from the profile, in the form in which names leave."""
        return self.privacy.of_name(text(self.known.get(field)), email=self.raw_email)

    @property
    def username(self) -> str | None:
        """A name that the person or the identity provider chose.

        The event's own `user_name` is often something else, such as a phone number.
        """
        in_form = text(at(self.record, "details", "body", "username"))
        chosen = text(self.known.get("username")) or in_form or text(self.known.get("nickname"))
        return self.privacy.of_name(chosen, email=self.raw_email)

    @property
    def picture(self) -> str | None:
        """The picture, only if e-mails leave plain.

        Auth0's default picture is at Gravatar, under a hash of the e-mail.
        """
        if self.privacy.email == "plain":
            return text(self.known.get("picture"))
        return None

    @property
    def organization_id(self) -> str | None:
        return text(self.record.get("organization_id"))

    @property
    def context(self) -> dict[str, Any]:
        """The address, the browser and the organization of the event, in a new dictionary."""
        organization = self.organization_id
        group = {"groupId": organization} if organization else {}
        if self.address_of is None:
            return group
        record = self.address_of.record
        is_browser = not (self.is_logged_signup and is_without_browser(self.address_of))
        ip = self.privacy.of_ip(ip_text(record.get("ip")))
        agent = self.privacy.of_agent(text(record.get("user_agent")) if is_browser else None)
        device = {"ip": ip, "userAgent": agent}
        return {key: value for key, value in device.items() if value is not None} | group
