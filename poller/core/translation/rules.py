"""The user's rules of translation: which events count as what, and how they leave."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from poller.core.translation.choices import Frequency, Linked, PresetName
from poller.core.translation.event_facts import EventFacts
from poller.core.translation.event_types import SIGNUP, EventType
from poller.core.translation.expressions import Expression, Lines
from poller.core.translation.presets import PRESETS, Preset
from poller.core.translation.privacy import PLAIN, Privacy
from poller.core.translation.routing import Routing


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The settings of translation.

    - `login_types` are the types that are tracked as logins.
    - `event_types` are more types that are tracked, and how.
    - `login_name` and `signup_name` take the place of the preset's names of tracks.
    - `include_sso_logins` counts logins on an existing session too.
    - `derive_signups` counts a first login as a signup too, if Auth0 logs no signup.
    - `include_api_signups` counts users made through the Management API or the dashboard too.
    - `find_signup_address` looks for the address of a signup that no browser asked for.
    - `include_agents` counts events in which an agent acts for a user.
    - `routing` says which of the tenant's events are for this route, if there are several.
    - `when` must hold for an event to be forwarded.
    - `linked` says whose id an event of a linked account leaves under: that of the primary account
      if its profile is at hand, or if a search finds it, or the id in the log.
    - `user_id` takes the place of the event's user id.
    - `anonymous_id` is sent beside the user id.
    - `context` holds values of the context by their path, such as `campaign.name`.
    - `identify` says whether each event identifies its user, or only a signup, a user who is new
      to Segment, and a user whose traits changed.
    - `groups` sends a group call for each new member of an organization.
    - `privacy` says in which form personal data leaves.
    """

    login_types: frozenset[str] = frozenset({"s"})
    include_sso_logins: bool = True
    derive_signups: bool = True
    include_api_signups: bool = True
    find_signup_address: bool = False
    include_agents: bool = True
    event_types: Mapping[str, EventType] = field(default_factory=dict)
    preset: PresetName = "rule"
    login_name: str | None = None
    signup_name: str | None = None
    routing: Routing | None = None
    when: Expression | None = None
    linked: Linked = "at_hand"
    user_id: Expression | None = None
    anonymous_id: Expression | None = None
    context: Lines = field(default_factory=dict)
    traits: Lines = field(default_factory=dict)
    properties: Lines = field(default_factory=dict)
    identify: Frequency = "always"
    groups: bool = True
    privacy: Privacy = PLAIN

    @property
    def types(self) -> frozenset[str]:
        """The log event types of interest."""
        return self.login_types | {SIGNUP, *self.event_types}

    @cached_property
    def shape(self) -> Preset:
        """The preset, with the user's own names of tracks."""
        preset = PRESETS[self.preset]
        return replace(
            preset,
            logged_in=self.login_name or preset.logged_in,
            signed_up=self.signup_name or preset.signed_up,
        )

    @property
    def track_names(self) -> tuple[str, ...]:
        """The names of all tracks that these rules send, each once."""
        more = (each.name for each in self.event_types.values())
        return tuple(dict.fromkeys((self.shape.logged_in, self.shape.signed_up, *more)))

    @cached_property
    def needs_profiles(self) -> bool:
        """True if an event has to wait for the profile.

        It has to if the profile decides who the user is, or whether the event is sent. Another
        call never repeats an anonymous id that a call lacks.
        """
        deciding = (self.when, self.user_id, self.anonymous_id)
        names_user = any(each is not None and each.names_user for each in deciding)
        return names_user or self.linked == "search"

    @cached_property
    def tracks_are_of_profiles(self) -> bool:
        """True if the properties of a track depend on the profile."""
        return self.shape.is_of_profile or any(line.names_user for line in self._track_lines)

    @property
    def profile_fields(self) -> frozenset[str] | None:
        """The fields of a profile that are used. None stands for any field."""
        lines = (self.when, self.user_id, self.anonymous_id, *self.traits.values())
        used = [line.user_fields for line in (*lines, *self._track_lines) if line is not None]
        if None in used:
            return None
        return self.shape.profile_fields.union(*(fields for fields in used if fields))

    @cached_property
    def _track_lines(self) -> tuple[Expression, ...]:
        """The expressions that fill tracks."""
        tables = [self.properties, self.context]
        tables += [each.properties for each in self.event_types.values()]
        return tuple(line for table in tables for line in table.values() if line is not None)


def counts_as_signup(facts: EventFacts, rules: Rules) -> bool:
    """Return whether the event is sent as a signup, logged by Auth0 or derived from a login."""
    return facts.is_logged_signup or (rules.derive_signups and facts.is_first_login)


DEFAULT = Rules()
