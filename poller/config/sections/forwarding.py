"""The sections on the events that are read, and on the calls that are sent."""

from typing import Any

from pydantic import Field

from poller.config.sections.section import Section, in_words, unparsed
from poller.config.types import (
    ContextLines,
    Destinations,
    EventNames,
    EventTypes,
    Fields,
    Flag,
    Interval,
    IntervalOrOff,
    LateWindow,
    LoginTypes,
    Queries,
    Query,
    SecretText,
    StartAt,
)
from poller.core.translation import privacy
from poller.core.translation.choices import Frequency, Linked, PresetName
from poller.core.translation.event_types import GROUPS


def _frequency(values: dict[str, Any]) -> Frequency:
    return "changes" if values["preset"] == "spec" else "always"


class BackfillSettings(Section):
    """The history that a backfill sends."""

    integrations: Destinations = Field(
        default_factory=dict,
        description="The destinations that history goes to, as a table in Segment's own form.",
        json_schema_extra=in_words("all"),
    )


class PollSettings(Section):
    """The polls of the daemon."""

    interval: Interval = Field(
        unparsed("30s"), description="The time between two polls, such as 30s, 5m or 1h."
    )
    start: StartAt = Field(
        unparsed("now"),
        description="The place in the log where the very first run begins: now, earliest, a date "
        "or a time.",
    )
    late_window: LateWindow = Field(
        unparsed("10m"),
        description="How late an event may reach the log. The log is read again after this time. "
        "0s turns this off.",
    )
    catch_up: IntervalOrOff = Field(
        unparsed("10m"),
        description="How far behind the daemon may be. Beyond this, new events are sent first, and "
        "the backlog of the outage beside them. off sends everything in order.",
    )


class CatchUpSettings(Section):
    """The backlog that the daemon sends after an outage."""

    integrations: Destinations = Field(
        default_factory=dict,
        description="The destinations that the tracks of a backlog go to, as a table in Segment's "
        "own form.",
        json_schema_extra=in_words("all"),
    )


class LoginsSettings(Section):
    """The log events that count as logins."""

    types: LoginTypes = Field(unparsed(["s"]), description="Log event types that count as logins.")
    include_sso: Flag = Field(
        default=True, description="Whether logins on an existing session count as logins."
    )
    include_agents: Flag = Field(
        default=True,
        description="Whether logins count in which an agent acts for a user. The property agent_id "
        "names the agent.",
    )


class SignupsSettings(Section):
    """The log events that count as signups."""

    derive: Flag = Field(
        default=True,
        description="Whether a first login by a social, enterprise or passwordless connection "
        "counts as a signup.",
    )
    include_api_created: Flag = Field(
        default=True,
        description="Whether users created by the Management API or the dashboard count as "
        "signups.",
    )
    find_address: Flag = Field(
        default=False,
        description="Whether a signup that no browser asked for takes the address of the login "
        "that completes it, and a signup from a native app keeps its own.",
    )


class EventsSettings(Section):
    """The calls that events become."""

    preset: PresetName = Field(
        "rule",
        description="The names of events and traits: rule for the names of Auth0's rule "
        '"Send events to Segment.io", or spec for the names of Segment\'s specification.',
    )
    names: EventNames = Field(
        default_factory=dict,
        description="Your own names of the track calls, under login and signup. Message ids do not "
        "depend on them.",
        json_schema_extra=in_words("the names of the preset"),
    )
    types: EventTypes = Field(
        default_factory=dict,
        description="More log event types to send as track calls. Each key is a type or a group: "
        + ", ".join(GROUPS)
        + ". Its table has the key name, and may have anonymous and properties.",
    )
    when: Query = Field(
        None, description="A condition. Only events for which it holds are forwarded."
    )
    linked: Linked = Field(
        "at_hand",
        description="The user id in the calls for an event of a linked account: at_hand for the "
        "primary account's id if its profile was read with the same page, search to look for the "
        "primary account, or logged for the id in the log.",
    )
    user_id: Query = Field(
        None,
        description="An expression for the user id in the calls.",
        json_schema_extra=in_words("the event's user_id"),
    )
    anonymous_id: Query = Field(
        None,
        description="An expression for the anonymousId of the calls, beside the user id.",
    )
    context: ContextLines = Field(
        default_factory=dict,
        description="More values of the context, each with an expression, such as campaign.name.",
    )
    identify: Frequency = Field(
        default_factory=_frequency,
        description="When to send identify: always, or changes (only at a signup, for a new "
        "user, or for new traits).",
        json_schema_extra=in_words("always with the preset rule, changes with spec"),
    )
    groups: Flag = Field(
        default=True,
        description="Whether to send a group call when a user logs in to an organization, unless "
        "Segment knows it already.",
    )
    traits: Queries = Field(
        default_factory=dict,
        description="More traits, each with an expression. false instead of an expression removes "
        "that trait.",
    )
    properties: Queries = Field(
        default_factory=dict,
        description="More properties of track calls, each with an expression. false instead of an "
        "expression removes that property.",
    )


class PrivacySettings(Section):
    """The personal data in the calls."""

    email: privacy.Email = Field("plain", description="E-mail addresses: plain, hmac or omit.")
    ip: privacy.Address = Field(
        "plain", description="IP addresses: plain, truncate (to /24 or /48) or omit."
    )
    user_agent: privacy.Agent = Field("plain", description="User agents: plain or omit.")
    user_name: privacy.Name = Field("plain", description="Names of people: plain or omit.")
    fields: Fields = Field(
        default_factory=dict,
        description="The form of any trait, property or context field, by its path: plain, hmac or "
        "omit.",
    )
    hmac_key: SecretText = Field(
        None, description="The key for values that are sent as HMAC-SHA256."
    )
