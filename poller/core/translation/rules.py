"""Which events count as what, and in which shape they leave, where users differ."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from poller.core.translation.event_facts import SIGNUP
from poller.core.translation.presets import PRESETS, Preset, PresetName
from poller.core.translation.privacy import PLAIN, Privacy

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
"""The log event types that may be counted as logins, and why one would count some logins twice.

`s` is every interactive login and every one on an existing session; `sepft` the password grant, `sens` a native social
login, `sepk…` the second step after a passkey grant, `secte` a custom token exchange (Auth0 docs: Log Event Type
Codes; Auth0 community, 82447).
"""

Frequency = Literal["always", "changes"]


class Expression(Protocol):
    """A pure function of a profile and a record; either may be anything that JSON can be."""

    @property
    def user_fields(self) -> frozenset[str] | None:
        """The fields of the profile that it looks at; None: any."""
        ...

    @property
    def names_user(self) -> bool:
        """Whether it looks at the profile at all."""
        ...

    @property
    def names_log(self) -> bool:
        """Whether it looks at the event at all."""
        ...

    def of(self, user: Mapping[str, Any] | None, log: Mapping[str, Any]) -> Any:
        """What it finds; `user` is None where there is no profile.

        Raises:
            ValueError: it cannot be evaluated on these, as a function of text on a number.
        """
        ...


Lines = Mapping[str, Expression | None]
"""Traits or properties beside the preset's; None takes one away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`login_types`: what is tracked as a login. `include_sso_logins`: also those on an existing session.

    `derive_signups`: a first login by a connection for which Auth0 logs no signup is a signup too.
    `include_api_signups`: also users made through the Management API or the dashboard. `when`: what must hold for an
    event to be forwarded. `user_id`: who it is, in place of the event's user id. `identify`: with every event, or only
    on signup, on first sight and when the traits are others. `groups`: a group call for each new member of an
    organization. `privacy`: how people leave.
    """

    login_types: frozenset[str] = frozenset({"s"})
    include_sso_logins: bool = True
    derive_signups: bool = True
    include_api_signups: bool = True
    preset: PresetName = "rule"
    when: Expression | None = None
    user_id: Expression | None = None
    traits: Lines = field(default_factory=dict)
    properties: Lines = field(default_factory=dict)
    identify: Frequency = "always"
    groups: bool = True
    privacy: Privacy = PLAIN

    @property
    def types(self) -> frozenset[str]:
        """The log event types of interest."""
        return self.login_types | {SIGNUP}

    @property
    def shape(self) -> Preset:
        return PRESETS[self.preset]

    @property
    def needs_profiles(self) -> bool:
        """Whether who someone is, or whether they are sent, hangs on the profile: then an event waits for it."""
        return any(
            expression is not None and expression.names_user
            for expression in (self.when, self.user_id)
        )

    @property
    def tracks_are_of_profiles(self) -> bool:
        """Whether what a track says hangs on the profile."""
        lines = self.properties.values()
        return self.shape.is_of_profile or any(
            line is not None and line.names_user for line in lines
        )

    @property
    def profile_fields(self) -> frozenset[str] | None:
        """The fields of a profile that are used; None: any."""
        given = (self.when, self.user_id, *self.traits.values(), *self.properties.values())
        fields = [expression.user_fields for expression in given if expression is not None]
        if None in fields:
            return None
        return self.shape.profile_fields.union(*(found for found in fields if found))


DEFAULT = Rules()
