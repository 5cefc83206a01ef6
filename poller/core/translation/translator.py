"""Translation of selected log events into the calls of Segment's API.

A translator is pure: the same events and profiles always give the same calls. The calls of an
event do not depend on the events around it, except for the address of a signup (`signup_address`).
There is one translator for live events and one for history.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import datetime

from poller.core.events import LogEvent, Stream
from poller.core.messages import Identify, Message
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
from poller.core.translation.event_facts import EventFacts, may_be_first_login
from poller.core.translation.expressions import evaluate, evaluate_or_none, holds
from poller.core.translation.fields import flat, text
from poller.core.translation.guard import guarded
from poller.core.translation.message_builder import PERSON, MessageBuilder, all_fitting
from poller.core.translation.rules import DEFAULT, Rules
from poller.core.translation.selection import Candidate, Selection, Selector


class Translator(ABC):
    """Translates the events of one stream by its rules, in two steps.

    `select` decides which events are of interest, and whose profiles are needed. A call of the
    translator then makes the calls. Thread-safe, since it holds no state.
    """

    def __init__(self, stream: Stream, rules: Rules = DEFAULT) -> None:
        self._rules = rules
        self._builder = MessageBuilder(stream, rules)
        self._selector = Selector(rules, self._needs_profile)

    @property
    def types(self) -> frozenset[str]:
        """The log event types of interest."""
        return self._rules.types

    def is_of_interest(self, event: LogEvent) -> bool:
        """Return whether the event becomes calls or a dead letter if the condition holds."""
        return self._selector.is_of_interest(event)

    def select(self, events: Iterable[LogEvent], now: datetime | None = None) -> Selection:
        """Decide which of the events are of interest.

        `now` is a time that two clocks agree on, or None. Dates of profiles are judged by it.

        Raises:
            TransientError: this machine has no memory left.
        """
        return self._selector.select(tuple(events), now)

    def __call__(self, selection: Selection, profiles: Profiles) -> Calls:
        """Return the calls of the selected events. Each event has exactly one outcome.

        Raises:
            TransientError: this machine has no memory left.
        """
        outcomes = list(self.outcomes(selection, profiles))
        return Calls(
            forwardable=tuple(each for each in outcomes if isinstance(each, Forwardable)),
            dead_letters=tuple(each for each in outcomes if isinstance(each, DeadLetter)),
            filtered=tuple(each for each in outcomes if isinstance(each, Filtered)),
        )

    def outcomes(self, selection: Selection, profiles: Profiles) -> Iterator[Outcome]:
        """Yield the outcome of each event, in the order of the events."""
        for decision in selection.decisions:
            if isinstance(decision, Candidate):
                profile = profiles.get(decision.user_id) if decision.user_id else None
                yield guarded(decision.event, self._translate, decision, profile, selection.now)
            else:
                yield decision

    def _translate(
        self, candidate: Candidate, profile: Profile | None, now: datetime | None
    ) -> Outcome:
        event = candidate.event
        condition = self._rules.when
        if candidate.is_conditional and condition and not holds(condition, event, profile):
            return Filtered(event=event, reason="condition", is_declined=True)
        if event.date is None:
            is_read = event.has_implausible_date
            return DeadLetter(
                event=event, reason="implausible_date" if is_read else "unparseable_date"
            )
        user_id = self._user_id(candidate, profile)
        facts = self._builder.facts(
            event, event.date, profile, address_of=candidate.address_of, now=now
        )
        if event.type in self._rules.event_types:
            track = self._builder.other_track(facts, user_id)
            if track is None:
                return Filtered(event=event, reason="no_user", is_declined=True)
            return _forwardable(event, [track])
        if not user_id:
            return DeadLetter(event=event, reason="no_user_id")
        messages = self._messages(facts, user_id, candidate.user_id or user_id)
        return _forwardable(event, messages, self._pending(candidate, user_id))

    def _user_id(self, candidate: Candidate, profile: Profile | None) -> str | None:
        expression = self._rules.user_id
        if expression is not None:
            # Many failed logins name no user, and an expression on the user cannot be evaluated.
            may_lack_user = candidate.event.type in self._rules.event_types
            if may_lack_user and candidate.user_id is None:
                return text(flat(evaluate_or_none(expression, candidate.event, profile)))
            return text(flat(evaluate(expression, candidate.event, profile)))
        is_primary = profile is not None and self._rules.linked != "logged"
        if profile and is_primary:
            return profile.user_id
        return candidate.user_id

    @abstractmethod
    def _needs_profile(self, event: LogEvent) -> bool:
        """Return whether the calls of this event of interest depend on the profile of its user."""

    @abstractmethod
    def _messages(self, facts: EventFacts, user_id: str, logged_id: str) -> Iterator[Message]:
        """Yield the messages of an event, in the order in which they are to arrive."""

    def _pending(self, candidate: Candidate, user_id: str) -> PendingIdentify | None:
        """Return the identify that is sent later, or None if nothing is left to be sent."""
        del candidate, user_id
        return None


def _forwardable(
    event: LogEvent, messages: Iterable[Message], pending: PendingIdentify | None = None
) -> Outcome:
    fitting = all_fitting(messages)
    if fitting is None:
        return DeadLetter(event=event, reason="too_large")
    return Forwardable(event=event, messages=fitting, pending_identify=pending)


class LiveTranslator(Translator):
    """Translates events as they happen: identify, then group, then tracks."""

    def _needs_profile(self, event: LogEvent) -> bool:
        del event
        return True

    def _messages(self, facts: EventFacts, user_id: str, logged_id: str) -> Iterator[Message]:
        builder = self._builder
        common = builder.common(facts, user_id)
        traits = builder.traits(facts)
        yield builder.identify(facts, common, traits)
        yield from builder.groups(facts, common)
        person = {}
        if self._rules.shape.tells_who:
            person = {key: traits[key] for key in PERSON if key in traits}
        yield from builder.tracks(facts, common, logged_id, person)


class TrackTranslator(Translator):
    """Translates events of the past into groups and tracks, without identify calls.

    An identify with the traits of an old event would replace newer traits. So the context of each
    track describes the user, from the event, or from the profile if a profile is read anyway.
    """

    def _needs_profile(self, event: LogEvent) -> bool:
        """Return whether a track depends on the profile.

        The context alone is not worth a request.
        """
        if self._rules.needs_profiles or self._rules.tracks_are_of_profiles:
            return True
        may_derive = self._rules.derive_signups and event.type not in self._rules.event_types
        return may_derive and may_be_first_login(event)

    def _messages(self, facts: EventFacts, user_id: str, logged_id: str) -> Iterator[Message]:
        builder = self._builder
        common = builder.common(facts, user_id)
        yield from builder.groups(facts, common)
        yield from builder.tracks(facts, common, logged_id, builder.person(facts))


class HistoryTranslator(TrackTranslator):
    """Translates events of the past, and leaves the identify of each user to be sent at the end.

    At the end of a backfill every user is identified once, with the profile as it is then.
    """

    def _pending(self, candidate: Candidate, user_id: str) -> PendingIdentify | None:
        if candidate.user_id is None:
            return None
        return PendingIdentify(
            user_id=candidate.user_id, sent_as=user_id, log_id=candidate.event.log_id
        )

    def identify(self, pending: PendingIdentify, profile: Profile) -> Identify | None:
        """Return the identify of a user whose tracks were sent before.

        Return None if the identify is too large.
        """
        return self._builder.later_identify(pending, profile)
