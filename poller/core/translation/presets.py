"""The two shapes that calls may have, before the user's own lines: names of events, traits and properties."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from poller.core.messages import Scalar, iso
from poller.core.translation.event_facts import EventFacts, is_made_by_api, is_sso
from poller.core.translation.fields import count, logins_count, text

PresetName = Literal["rule", "spec"]
SIGNED_UP = "Signed Up"
"""The name of the track of a signup, in both presets."""
Values = dict[str, Scalar | None]
"""What is None is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """`profile_fields` are what it uses of a profile; `is_of_profile`: also for tracks.

    `tells_who`: tracks have e-mail and name in their context too.
    """

    logged_in: str
    signed_up: str
    profile_fields: frozenset[str]
    tells_who: bool
    is_of_profile: bool
    traits: Callable[[EventFacts], Values]
    login_properties: Callable[[EventFacts], Values]
    signup_properties: Callable[[EventFacts], Values]


def _iso(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _rule_traits(seen: EventFacts) -> Values:
    told = logins_count(seen.record)
    return {
        "email": seen.email,
        "signed_up": _iso(seen.date_in_profile("created_at")),
        "login_count": count(seen.current.get("logins_count")) if told is None else told,
        "last_login": _iso(seen.current_date("last_login") if seen.is_signup else seen.date),
    }


def _rule_properties(seen: EventFacts) -> Values:
    return {
        "clientName": text(seen.record.get("client_name")),
        "clientID": text(seen.record.get("client_id")),
        "connection": text(seen.record.get("connection")),
    }


def _spec_traits(seen: EventFacts) -> Values:
    return {
        "email": seen.email,
        "name": seen.name("name"),
        "firstName": seen.name("given_name"),
        "lastName": seen.name("family_name"),
        "username": seen.username,
        "phone": seen.name("phone_number"),
        "avatar": seen.picture,
        "createdAt": _iso(seen.date_in_profile("created_at")),
    }


def _spec_login_properties(seen: EventFacts) -> Values:
    return {"username": seen.username, **_spec_properties(seen)}


def _spec_signup_properties(seen: EventFacts) -> Values:
    return {
        "type": None if is_made_by_api(seen.event) or seen.is_without_browser else "organic",
        "email": seen.email,
        "first_name": seen.name("given_name"),
        "last_name": seen.name("family_name"),
        "phone": seen.name("phone_number"),
        "username": seen.username,
        **_spec_properties(seen),
    }


def _spec_properties(seen: EventFacts) -> Values:
    return {
        "client_name": text(seen.record.get("client_name")),
        "client_id": text(seen.record.get("client_id")),
        "connection": text(seen.record.get("connection")),
    }


def _sso(of: Callable[[EventFacts], Values]) -> Callable[[EventFacts], Values]:
    return lambda seen: of(seen) | ({"sso": True} if is_sso(seen.event) else {})


def _created_by(of: Callable[[EventFacts], Values]) -> Callable[[EventFacts], Values]:
    return lambda seen: of(seen) | ({"created_by": "api"} if is_made_by_api(seen.event) else {})


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
    # What the integration sent that Auth0 documented for its rules.
    "rule": Preset(
        logged_in="Logged In",
        signed_up=SIGNED_UP,
        profile_fields=frozenset({"email", "created_at", "logins_count", "last_login"}),
        tells_who=False,
        is_of_profile=False,
        traits=_rule_traits,
        login_properties=_sso(_rule_properties),
        signup_properties=_created_by(_rule_properties),
    ),
    # Segment's reserved traits (docs: Spec: Identify) and its B2B SaaS events (docs: B2B SaaS Spec).
    "spec": Preset(
        logged_in="Signed In",
        signed_up=SIGNED_UP,
        profile_fields=_SPEC_FIELDS,
        tells_who=True,
        is_of_profile=True,
        traits=_spec_traits,
        login_properties=_sso(_spec_login_properties),
        signup_properties=_created_by(_spec_signup_properties),
    ),
}
