"""The two shapes that calls may have: the names of events, traits and properties.

The user's own lines of the settings are put over the values of the preset.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from poller.core.messages import Scalar
from poller.core.text.dates import iso
from poller.core.translation.choices import PresetName
from poller.core.translation.event_facts import EventFacts, agent_of
from poller.core.translation.fields import count, text

SIGNED_UP = "Signed Up"
"""The name of the track of a signup, in both presets."""

Read = Callable[[EventFacts], Scalar | None]
Values = Mapping[str, Read]
"""The readers of the values, by name. A value that is None is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """The names and values of one shape.

    `profile_fields` are the fields of a profile that the shape uses. `is_of_profile` says that
    tracks use them too. `tells_who` says that the context of a track holds e-mail and name.
    """

    logged_in: str
    signed_up: str
    profile_fields: frozenset[str]
    tells_who: bool
    is_of_profile: bool
    traits: Values
    login_properties: Values
    signup_properties: Values
    event_properties: Values
    """The properties of the tracks of any other type of event."""


def _iso(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _record(key: str) -> Read:
    return lambda facts: text(facts.record.get(key))


def _name(field: str) -> Read:
    return lambda facts: facts.name(field)


def _email(facts: EventFacts) -> str | None:
    return facts.email


def _username(facts: EventFacts) -> str | None:
    return facts.username


def _created_at(facts: EventFacts) -> str | None:
    return _iso(facts.date_in_profile("created_at"))


def _login_count(facts: EventFacts) -> int | None:
    if facts.logins_count is not None:
        return facts.logins_count
    return count(facts.current.get("logins_count"))


def _last_login(facts: EventFacts) -> str | None:
    return _iso(facts.current_date("last_login") if facts.is_logged_signup else facts.date)


def _sso(facts: EventFacts) -> bool | None:
    return facts.is_sso or None


def _agent_id(facts: EventFacts) -> str | None:
    return agent_of(facts.event)


def _created_by(facts: EventFacts) -> str | None:
    return "api" if facts.is_made_by_api else None


def _signup_type(facts: EventFacts) -> str | None:
    is_own = facts.address_of is facts.event
    if facts.is_made_by_api or not is_own:
        return None
    return "organic"


_RULE_PROPERTIES: Values = {
    "clientName": _record("client_name"),
    "clientID": _record("client_id"),
    "connection": _record("connection"),
}
_SPEC_PROPERTIES: Values = {
    "client_name": _record("client_name"),
    "client_id": _record("client_id"),
    "connection": _record("connection"),
}
_SPEC_FIELDS = frozenset(
    {
        "email",
        "created_at",
        "name",
        "given_name",
        "family_name",
        "username",
        "nickname",
        "phone_number",
        "picture",
    }
)

PRESETS: Mapping[PresetName, Preset] = {
    # The calls of the integration that Auth0 documented for its rules.
    "rule": Preset(
        logged_in="Logged In",
        signed_up=SIGNED_UP,
        profile_fields=frozenset({"email", "created_at", "logins_count", "last_login"}),
        tells_who=False,
        is_of_profile=False,
        traits={
            "email": _email,
            "signed_up": _created_at,
            "login_count": _login_count,
            "last_login": _last_login,
        },
        login_properties={**_RULE_PROPERTIES, "sso": _sso, "agent_id": _agent_id},
        signup_properties={**_RULE_PROPERTIES, "created_by": _created_by},
        event_properties={**_RULE_PROPERTIES, "type": _record("type")},
    ),
    # Segment's reserved traits (Segment docs: Spec: Identify) and its B2B SaaS events (B2B SaaS
    # Spec).
    "spec": Preset(
        logged_in="Signed In",
        signed_up=SIGNED_UP,
        profile_fields=_SPEC_FIELDS,
        tells_who=True,
        is_of_profile=True,
        traits={
            "email": _email,
            "name": _name("name"),
            "firstName": _name("given_name"),
            "lastName": _name("family_name"),
            "username": _username,
            "phone": _name("phone_number"),
            "avatar": lambda facts: facts.picture,
            "createdAt": _created_at,
        },
        login_properties={
            "username": _username,
            **_SPEC_PROPERTIES,
            "sso": _sso,
            "agent_id": _agent_id,
        },
        signup_properties={
            "type": _signup_type,
            "email": _email,
            "first_name": _name("given_name"),
            "last_name": _name("family_name"),
            "phone": _name("phone_number"),
            "username": _username,
            **_SPEC_PROPERTIES,
            "created_by": _created_by,
        },
        event_properties={**_SPEC_PROPERTIES, "type": _record("type")},
    ),
}
