"""The messages of one event: identify, group if there is an organization, and tracks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from poller.core.events import LogEvent, Stream
from poller.core.messages import (
    Fingerprint,
    Group,
    Identify,
    Message,
    Scalar,
    Track,
    message_id,
    signup_message_id,
)
from poller.core.outcomes import PendingIdentify, Profile
from poller.core.translation.change_detection import group_fingerprint, identify_fingerprint
from poller.core.translation.event_facts import EventFacts
from poller.core.translation.event_types import SIGNUP
from poller.core.translation.expressions import Expression, Lines, evaluate_or_none
from poller.core.translation.fields import flat, is_masked_email, text
from poller.core.translation.presets import Read, Values
from poller.core.translation.rules import Rules, counts_as_signup
from poller.core.translation.size_limit import fit

PERSON = ("email", "name")
"""The traits that destinations keyed on a person look for in the context of a track."""


class MessageBuilder:
    """Builds the messages of one stream by its rules.

    The same event and profile always give the same messages, under the same ids. A retry, a replay
    and a second run after a crash thus send what was sent before, and Segment drops the repeats.
    The ids of identify, group and login tracks are made of the log id. The id of a signup track is
    made of the user id. So one user's signup counts once, whether Auth0 logged it or it was
    derived from a first login.
    """

    def __init__(self, stream: Stream, rules: Rules) -> None:
        self._stream = stream
        self._rules = rules
        self._preset = preset = rules.shape
        self._traits = _readers(preset.traits, rules.traits)
        self._person = {key: self._traits[key] for key in PERSON if key in self._traits}
        self._context = _readers({}, rules.context)
        self._signup = _readers(preset.signup_properties, rules.properties)
        self._login = _readers(preset.login_properties, rules.properties)
        self._others = {
            name: _readers(preset.event_properties, {**rules.properties, **each.properties})
            for name, each in rules.event_types.items()
        }

    def facts(
        self,
        event: LogEvent,
        date: datetime,
        profile: Profile | None,
        *,
        address_of: LogEvent | None,
        now: datetime | None = None,
    ) -> EventFacts:
        return EventFacts(
            event=event,
            date=date,
            profile=profile,
            privacy=self._rules.privacy,
            now=now,
            address_of=address_of,
        )

    def traits(self, facts: EventFacts) -> dict[str, Scalar]:
        return dict(self._rules.privacy.of_fields(_values(self._traits, facts), "traits"))

    def person(self, facts: EventFacts) -> Mapping[str, Scalar]:
        """Return the traits that name the user, in the order of `PERSON`."""
        return self._rules.privacy.of_fields(_values(self._person, facts), "traits")

    def context(self, facts: EventFacts) -> Mapping[str, Any]:
        """Return the context of the event, with the user's own values in it."""
        context = facts.context
        for path, value in _values(self._context, facts).items():
            _put(context, path.split("."), value)
        return self._rules.privacy.of_fields(context, "context")

    def anonymous_id(self, facts: EventFacts) -> str | None:
        """Return the anonymous id by the expression of the rules, or None."""
        line = self._rules.anonymous_id
        if line is None:
            return None
        return text(flat(evaluate_or_none(line, facts.event, facts.profile)))

    def common(self, facts: EventFacts, user_id: str | None) -> dict[str, Any]:
        """Return what all messages of the event have in common."""
        return {
            "log_id": facts.event.log_id,
            "user_id": user_id,
            "anonymous_id": self.anonymous_id(facts),
            "timestamp": facts.date,
            "context": self.context(facts),
        }

    def identify(
        self, facts: EventFacts, common: Mapping[str, Any], traits: Mapping[str, Scalar]
    ) -> Identify:
        always_send = facts.is_logged_signup or self._rules.identify == "always"
        return Identify(
            message_id=message_id(self._stream, "identify", facts.event.log_id, facts.event.log_id),
            traits=traits,
            fingerprint=identify_fingerprint(
                common["user_id"],
                traits,
                is_partial=facts.profile is None,
                always_send=always_send,
            ),
            **common,
        )

    def later_identify(self, pending: PendingIdentify, profile: Profile) -> Identify | None:
        """Return the identify of a user whose tracks were sent before, or None if it is too large.

        The identify holds the profile as it is now, and nothing of any event. It is made like that
        of a signup, since a signup takes all its traits from the profile.
        """
        event = LogEvent(
            log_id=pending.log_id,
            type=SIGNUP,
            date=profile.read_at,
            record={"user_id": pending.user_id},
        )
        facts = self.facts(event, profile.read_at, profile, address_of=None)
        # A trait whose expression looks at the event is left out, because there is no event here.
        lines = {
            key: None if line and line.names_log else line
            for key, line in self._rules.traits.items()
        }
        values = _values(_readers(self._preset.traits, lines), facts)
        traits = self._rules.privacy.of_fields(values, "traits")
        message = self.identify(facts, self.common(facts, pending.sent_as), traits)
        # A run at another time may find another profile. Its identify is another message, or
        # Segment would drop it as a repeat.
        value = message.fingerprint.value if message.fingerprint else ""
        key = f"{pending.log_id} {pending.sent_as} {value}"
        fitting = fit(
            replace(message, message_id=message_id(self._stream, "identify", key, pending.log_id))
        )
        return fitting if isinstance(fitting, Identify) else None

    def groups(self, facts: EventFacts, common: Mapping[str, Any]) -> Iterable[Group]:
        """Yield the group call of a login to an organization."""
        group_id = facts.organization_id
        if not self._rules.groups or group_id is None:
            return
        name = text(facts.record.get("organization_name"))
        yield Group(
            message_id=message_id(self._stream, "group", facts.event.log_id, facts.event.log_id),
            group_id=group_id,
            traits=self._rules.privacy.of_fields({"name": name} if name else {}, "traits"),
            fingerprint=group_fingerprint(common["user_id"], group_id),
            **common,
        )

    def tracks(
        self,
        facts: EventFacts,
        common: dict[str, Any],
        logged_id: str,
        person: Mapping[str, Scalar],
    ) -> Iterable[Track]:
        """Yield the tracks of an event. A first login that is a signup too has two.

        `logged_id` is the user id in the log, which the id of a signup is made of. `person` goes
        into the context.
        """
        preset, log_id = self._preset, facts.event.log_id
        if person:
            common = {**common, "context": {**common["context"], "traits": person}}
        if counts_as_signup(facts, self._rules):
            signup_id = signup_message_id(self._stream, logged_id, log_id)
            yield Track(
                message_id=signup_id,
                event=preset.signed_up,
                properties=self._properties(self._signup, facts),
                fingerprint=Fingerprint(key=signup_id, value="signed up", always_send=True),
                **common,
            )
        if not facts.is_logged_signup:
            yield Track(
                message_id=message_id(self._stream, "track", log_id, log_id),
                event=preset.logged_in,
                properties=self._properties(self._login, facts),
                **common,
            )

    def other_track(self, facts: EventFacts, user_id: str | None) -> Track | None:
        """Return the track of an event that is neither a login nor a signup.

        Return None if the event names no user, and no anonymous id can stand for one.
        """
        rules, event_type = self._rules, self._rules.event_types[facts.event.type]
        common = self.common(facts, user_id or None)
        user_name = _own_name(facts)
        if not (user_id or common["anonymous_id"]) and event_type.is_anonymous and user_name:
            common["anonymous_id"] = rules.privacy.hmac_of(user_name)
        if not (user_id or common["anonymous_id"]):
            return None
        return Track(
            message_id=message_id(self._stream, "track", facts.event.log_id, facts.event.log_id),
            event=event_type.name,
            properties=self._properties(self._others[facts.event.type], facts),
            **common,
        )

    def _properties(self, readers: Values, facts: EventFacts) -> Mapping[str, Scalar]:
        return self._rules.privacy.of_fields(_values(readers, facts), "properties")


def _readers(preset: Values, lines: Lines) -> Values:
    """Return the readers of the preset's values, with the user's own lines in place of them."""
    own = {key: None if line is None else _reader(line) for key, line in lines.items()}
    return {key: read for key, read in {**preset, **own}.items() if read is not None}


def _reader(line: Expression) -> Read:
    """Return the reader of a line.

    A line that cannot be evaluated gives no value, since no trait is worth an event.
    """
    return lambda facts: flat(evaluate_or_none(line, facts.event, facts.profile))


def _values(readers: Values, facts: EventFacts) -> dict[str, Scalar]:
    """Return the values that are there. A masked e-mail is none."""
    return {
        key: value
        for key, read in readers.items()
        if (value := read(facts)) is not None and not is_masked_email(value)
    }


def _own_name(facts: EventFacts) -> str | None:
    """Return the name that was typed. Many people may share a masked e-mail, so it is no name."""
    name = text(facts.record.get("user_name"))
    return None if is_masked_email(name) else name


def _put(table: dict[str, Any], path: Sequence[str], value: Scalar) -> None:
    """Put the value at the end of the path of keys, and make the tables on the way."""
    *tables, last = path
    for key in tables:
        if not isinstance(table.get(key), dict):
            table[key] = {}
        table = table[key]
    table[last] = value


def all_fitting(messages: Iterable[Message]) -> tuple[Message, ...] | None:
    """Return the messages, cut if they are too large.

    Return None if one of them is too large anyway.
    """
    fitting = []
    for message in messages:
        fits = fit(message)
        if fits is None:
            return None
        fitting.append(fits)
    return tuple(fitting)
