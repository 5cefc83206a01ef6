"""From a log event and the user's profile to the calls it becomes; pure, and knows no neighbours.

Identify, group where there is an organization, then track; a first login that is a signup too is tracked as both.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from poller.core.errors import TransientError
from poller.core.events import LogEvent, Stream
from poller.core.messages import (
    MAX_MESSAGE_BYTES,
    Fingerprint,
    Group,
    Identify,
    Message,
    Scalar,
    Track,
    message_id,
    size,
)
from poller.core.outcomes import (
    Calls,
    DeadLetter,
    Filtered,
    Forwardable,
    Outcome,
    PendingIdentify,
    Profile,
    Profiles,
)
from poller.core.pages import Page
from poller.core.translation.change_detection import group_fingerprint, identify_fingerprint
from poller.core.translation.event_facts import (
    SIGNUP,
    EventFacts,
    is_made_by_api,
    is_sso,
    may_be_first_login,
)
from poller.core.translation.fields import flat, is_masked_email, text, user_id_of
from poller.core.translation.presets import Values
from poller.core.translation.rules import DEFAULT, LOGIN_TYPES, Expression, Lines, Rules

_OF_THE_DATUM = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What a record of an odd form makes Python raise: a bug of ours, but such a record must not stop the log, and a replay
sends it once we have mended the bug. Whatever else is raised is no fault of the record, and nothing is settled then."""
_TRIMMED_TEXT = 512
"""Characters left of each value of a message that would be too large whole."""
_MAY_BE_OF_INTEREST = {*LOGIN_TYPES, SIGNUP}
"""The types that some settings send. What was filtered of them stays filtered when the settings change."""
_WHO = ("email", "name")
"""The traits that destinations keyed on a person look for in the context of a track."""


class Translator:
    """Translates for one stream; the same event and profile always give the same calls.

    `tracks_only`: without identify, which would take newer traits back to older ones; the tracks tell who it was, as
    far as the event does or a profile is needed anyway. Unless `identifies_later` is off, the users are told of.
    """

    def __init__(
        self,
        stream: Stream,
        rules: Rules = DEFAULT,
        *,
        tracks_only: bool = False,
        identifies_later: bool = True,
    ) -> None:
        self._tracks_only = tracks_only
        self._identifies_later = tracks_only and identifies_later
        self._stream = stream
        self._rules = rules
        self._shape = rules.shape

    @property
    def types(self) -> frozenset[str]:
        """The log event types of interest."""
        return self._rules.types

    def is_of_interest(self, event: LogEvent) -> bool:
        """Whether the event becomes calls or a dead letter, or would if the condition held."""
        return bool(event.defect) or (event.type in self.types and self._counts(event))

    def users_in(self, events: Iterable[LogEvent]) -> tuple[str, ...]:
        """The ids of the users whose profiles these events need, each once, in order of appearance."""
        found = (user_id_of(event.record) for event in events if self._needs_profile(event))
        return tuple(dict.fromkeys(user_id for user_id in found if user_id))

    def page(self, page: Page, profiles: Profiles) -> Calls:
        return self.events(page.events, profiles, now=page.believed_at)

    def events(
        self, events: Iterable[LogEvent], profiles: Profiles, *, now: datetime | None = None
    ) -> Calls:
        """What becomes of the events. `now` is a time that two clocks agree on, or None."""
        outcomes = [self.event(event, profiles, now=now) for event in events]
        return Calls(
            forwardable=tuple(entry for entry in outcomes if isinstance(entry, Forwardable)),
            dead_letters=tuple(entry for entry in outcomes if isinstance(entry, DeadLetter)),
            filtered=tuple(entry for entry in outcomes if isinstance(entry, Filtered)),
        )

    def event(self, event: LogEvent, profiles: Profiles, *, now: datetime | None = None) -> Outcome:
        """Return what becomes of the event.

        Raises:
            TransientError: there is no memory left.
        """
        try:
            return self._outcome(event, profiles, now)
        except _EvaluationError:
            return DeadLetter(event=event, reason="expression_failed")
        except _OF_THE_DATUM:
            return DeadLetter(event=event, reason="untranslatable")
        except MemoryError:
            raise TransientError(
                f"this machine has no memory left to translate {event.log_id}"
            ) from None

    def _outcome(self, event: LogEvent, profiles: Profiles, now: datetime | None) -> Outcome:
        if event.defect:
            return DeadLetter(event=event, reason=event.defect)
        if not self.is_of_interest(event):
            return Filtered(event=event, is_declined=event.type in _MAY_BE_OF_INTEREST)
        logged_id = user_id_of(event.record)
        profile = profiles.get(logged_id) if logged_id else None
        if not self._holds(event, profile):
            return Filtered(event=event, is_declined=True)
        return self._forwardable(event, logged_id, profile, now)

    def _forwardable(
        self, event: LogEvent, logged_id: str | None, profile: Profile | None, now: datetime | None
    ) -> Forwardable | DeadLetter:
        if event.date is None and event.has_implausible_date:
            return DeadLetter(event=event, reason="implausible_date")
        if event.date is None:
            return DeadLetter(event=event, reason="unparseable_date")
        user_id = self._user_id(event, logged_id, profile)
        if not user_id:
            return DeadLetter(event=event, reason="no_user_id")
        seen = EventFacts(
            event=event, date=event.date, profile=profile, privacy=self._rules.privacy, now=now
        )
        fitted = [fit(message) for message in self._messages(seen, user_id, logged_id or user_id)]
        messages = tuple(message for message in fitted if message is not None)
        if len(messages) < len(fitted):
            return DeadLetter(event=event, reason="too_large")
        pending_identify = None
        if self._identifies_later and logged_id:
            pending_identify = PendingIdentify(
                user_id=logged_id, sent_as=user_id, log_id=event.log_id
            )
        return Forwardable(event=event, messages=messages, pending_identify=pending_identify)

    def identify(self, pending: PendingIdentify, profile: Profile) -> Identify | None:
        """The identify of a user whose tracks were sent before, with the profile as it is now and no event's traits.

        None where even that is too large.
        """
        # A signup's, since that has all traits from the profile; it has a log id, and says nothing else.
        event = LogEvent(
            log_id=pending.log_id,
            type=SIGNUP,
            date=profile.read_at,
            record={"user_id": pending.user_id},
        )
        seen = EventFacts(
            event=event, date=profile.read_at, profile=profile, privacy=self._rules.privacy
        )
        # A line that looks at the event has none to look at: what it would say is left as it is.
        lines = {
            key: None if line and line.names_log else line
            for key, line in self._rules.traits.items()
        }
        message = self._identify(
            seen, pending.sent_as, self._lined(self._shape.traits(seen), lines, seen)
        )
        # The same at another time may say something else, and is another message then.
        value = message.fingerprint.value if message.fingerprint else ""
        key = f"{pending.log_id} {pending.sent_as} {value}"
        fitted = fit(replace(message, message_id=message_id(self._stream, "identify", key)))
        return fitted if isinstance(fitted, Identify) else None

    def _traits(self, seen: EventFacts) -> dict[str, Scalar]:
        return self._lined(self._shape.traits(seen), self._rules.traits, seen)

    def _identify(self, seen: EventFacts, user_id: str, traits: Mapping[str, Scalar]) -> Identify:
        return Identify(
            message_id=message_id(self._stream, "identify", seen.event.log_id),
            log_id=seen.event.log_id,
            user_id=user_id,
            timestamp=seen.date,
            traits=traits,
            context=seen.context,
            fingerprint=self._fingerprint(seen, user_id, traits),
        )

    def _messages(self, seen: EventFacts, user_id: str, logged_id: str) -> Iterator[Message]:
        log_id = seen.event.log_id
        traits = self._traits(seen)
        context = seen.context
        common: dict[str, Any] = {"log_id": log_id, "user_id": user_id, "timestamp": seen.date}
        if not self._tracks_only:
            yield self._identify(seen, user_id, traits)
        if self._rules.groups and "groupId" in context:
            yield self._group(seen, context, common)
        if self._shape.tells_who or self._tracks_only:
            who = {key: traits[key] for key in _WHO if key in traits}
            context = context | ({"traits": who} if who else {})
        if seen.is_signup or (self._rules.derive_signups and seen.is_first_login):
            yield Track(
                # A signup is the user's, not the event's: logged or derived, it counts once.
                message_id=message_id(self._stream, "signup", logged_id),
                event=self._shape.signed_up,
                properties=self._lined(
                    self._shape.signup_properties(seen), self._rules.properties, seen
                ),
                context=context,
                **common,
            )
        if not seen.is_signup:
            yield Track(
                message_id=message_id(self._stream, "track", log_id),
                event=self._shape.logged_in,
                properties=self._lined(
                    self._shape.login_properties(seen), self._rules.properties, seen
                ),
                context=context,
                **common,
            )

    def _group(
        self, seen: EventFacts, context: Mapping[str, Any], common: Mapping[str, Any]
    ) -> Group:
        group_id, name = str(context["groupId"]), text(seen.record.get("organization_name"))
        return Group(
            message_id=message_id(self._stream, "group", seen.event.log_id),
            group_id=group_id,
            traits={"name": name} if name else {},
            context=context,
            fingerprint=group_fingerprint(str(common["user_id"]), group_id),
            **common,
        )

    def _fingerprint(
        self, seen: EventFacts, user_id: str, traits: Mapping[str, Scalar]
    ) -> Fingerprint:
        always_send = seen.is_signup or self._rules.identify == "always"
        return identify_fingerprint(
            user_id, traits, is_partial=seen.profile is None, always_send=always_send
        )

    def _lined(self, preset: Values, lines: Lines, seen: EventFacts) -> dict[str, Scalar]:
        """The preset's values under the user's own lines, without what is absent."""
        values = dict(preset)
        for key, line in lines.items():
            values[key] = None if line is None else flat(_evaluated(line, seen.event, seen.profile))
        return {
            key: value
            for key, value in values.items()
            if value is not None and not is_masked_email(value)
        }

    def _user_id(
        self, event: LogEvent, logged_id: str | None, profile: Profile | None
    ) -> str | None:
        if self._rules.user_id is None:
            return profile.user_id if profile else logged_id
        return text(flat(_strictly(self._rules.user_id, event, profile)))

    def _holds(self, event: LogEvent, profile: Profile | None) -> bool:
        # What JMESPath holds for false: null, false, "" and what is empty. A number never is.
        found = True if self._rules.when is None else _strictly(self._rules.when, event, profile)
        return found is not None and found is not False and found not in ("", [], {})

    def _needs_profile(self, event: LogEvent) -> bool:
        if event.defect or not self.is_of_interest(event):
            return False
        if self._tracks_only and not self._tracks_need_profile(event):
            return False
        condition = self._rules.when
        if condition is None or condition.names_user:
            return True
        try:
            return self._holds(event, None)
        except _EvaluationError:
            return False

    def _tracks_need_profile(self, event: LogEvent) -> bool:
        """Whether a track would be another one without it; `context.traits` alone are not worth a request."""
        rules = self._rules
        if rules.needs_profiles or rules.tracks_are_of_profiles:
            return True
        return rules.derive_signups and may_be_first_login(event)

    def _counts(self, event: LogEvent) -> bool:
        if event.type == SIGNUP:
            return self._rules.include_api_signups or not is_made_by_api(event)
        return self._rules.include_sso_logins or not is_sso(event)


class _EvaluationError(Exception):
    """An expression that decides about an event cannot be evaluated on it."""


def _strictly(expression: Expression, event: LogEvent, profile: Profile | None) -> Any:
    try:
        return expression.of(profile.fields if profile else None, event.record)
    except ValueError as error:
        raise _EvaluationError from error


def _evaluated(expression: Expression, event: LogEvent, profile: Profile | None) -> Any:
    """What it finds; one that cannot be evaluated finds nothing: a trait is not worth an event."""
    try:
        return expression.of(profile.fields if profile else None, event.record)
    except ValueError:
        return None


def fit(message: Message) -> Message | None:
    """The message, its long values cut if it would otherwise be too large for Segment; None if it still would."""
    if size(message) <= MAX_MESSAGE_BYTES:
        return message
    message = replace(message, context=_trimmed(message.context))
    if isinstance(message, Track):
        message = replace(message, properties=_trimmed(message.properties))
    elif isinstance(message, Identify | Group):
        message = replace(message, traits=_trimmed(message.traits))
    return message if size(message) <= MAX_MESSAGE_BYTES else None


def _trimmed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Texts cut to their first characters, inside a table too."""
    return {
        key: _trimmed(value)
        if isinstance(value, dict)
        else value[:_TRIMMED_TEXT]
        if isinstance(value, str)
        else value
        for key, value in values.items()
    }
