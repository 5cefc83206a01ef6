"""Selection: which log events of a page are of interest, decided once and before any request."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from poller.core.events import LogEvent
from poller.core.outcomes import DeadLetter, Filtered, FilterReason
from poller.core.translation.event_facts import agent_of, is_made_by_api, is_sso
from poller.core.translation.event_types import GROUPS, LOGIN_TYPES, SIGNUP
from poller.core.translation.expressions import holds
from poller.core.translation.fields import user_id_of
from poller.core.translation.guard import guarded
from poller.core.translation.rules import Rules
from poller.core.translation.signup_address import addresses

_MAY_BE_OF_INTEREST = {*LOGIN_TYPES, SIGNUP}.union(*GROUPS.values())
"""The types that settings usually send.

An event of such a type that was filtered stays filtered when the settings change. The ledger
remembers the id of each. Other types may be configured too, but to remember every id of the log
would cost too much.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An event of interest, and the user id that the log has for it.

    `needs_profile` says that the calls of the event depend on the user's profile.
    `is_conditional` says that the condition of the rules looks at the profile. Then the condition
    is decided with the profile, and otherwise it is known to hold. `address_of` is the event whose
    address is the person's, or None if no event shows it.
    """

    event: LogEvent
    user_id: str | None
    needs_profile: bool
    is_conditional: bool
    address_of: LogEvent | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """One decision for each event, in the order of the events.

    `now` is a time that two clocks agree on, or None. Dates of profiles are judged by it.
    """

    decisions: tuple[Candidate | DeadLetter | Filtered, ...]
    now: datetime | None = None

    @property
    def users(self) -> tuple[str, ...]:
        """The ids of the users whose profiles are needed, each once, in order of appearance."""
        users = (
            each.user_id
            for each in self.decisions
            if isinstance(each, Candidate) and each.needs_profile and each.user_id
        )
        return tuple(dict.fromkeys(users))


class Selector:
    """Selects the events of interest by the rules.

    `needs_profile` returns whether the calls of an event depend on the profile of its user.
    """

    def __init__(self, rules: Rules, needs_profile: Callable[[LogEvent], bool]) -> None:
        self._rules = rules
        self._types = rules.types
        self._needs_profile = needs_profile

    def is_of_interest(self, event: LogEvent) -> bool:
        """Return whether the event becomes calls or a dead letter if the condition holds."""
        if event.defect and not event.type:
            return True  # it becomes a dead letter
        return self._objection(event) is None

    def select(self, events: Sequence[LogEvent], now: datetime | None) -> Selection:
        """Decide about each event.

        Raises:
            TransientError: this machine has no memory left.
        """
        found = addresses(events, find=self._rules.find_signup_address)
        decisions = tuple(
            guarded(event, self._decide, event, found.get(event.log_id, event)) for event in events
        )
        return Selection(decisions=decisions, now=now)

    def _decide(
        self, event: LogEvent, address_of: LogEvent | None
    ) -> Candidate | DeadLetter | Filtered:
        filtered = self._filtered(event)
        if filtered is not None:
            return filtered
        if event.defect:
            return DeadLetter(event=event, reason=event.defect)
        condition = self._rules.when
        is_conditional = condition is not None and condition.names_user
        if condition is not None and not is_conditional and not holds(condition, event, None):
            return Filtered(event=event, reason="condition", is_declined=True)
        return Candidate(
            event=event,
            user_id=user_id_of(event.record),
            needs_profile=self._needs_profile(event),
            is_conditional=is_conditional,
            address_of=address_of,
        )

    def _filtered(self, event: LogEvent) -> Filtered | None:
        """Return the event as filtered, or None if it is of interest and this route takes it."""
        routing = self._rules.routing
        is_unreadable = event.defect and not event.type
        objection = None if is_unreadable else self._objection(event)
        if objection is not None:
            is_declined = event.type in _MAY_BE_OF_INTEREST
            return Filtered(event=event, reason=objection, is_declined=is_declined)
        elsewhere = routing.objection(event) if routing else None
        if elsewhere is not None:
            return Filtered(event=event, reason=elsewhere, is_declined=True)
        return None

    def _objection(self, event: LogEvent) -> FilterReason | None:
        """Return the reason why these settings leave the event out, or None if they send it."""
        if event.type not in self._types:
            return "type"
        if event.type in self._rules.event_types:
            return None
        if event.type == SIGNUP:
            is_left_out = not self._rules.include_api_signups and is_made_by_api(event)
            return "api_signup" if is_left_out else None
        if not self._rules.include_sso_logins and is_sso(event):
            return "sso_login"
        if not self._rules.include_agents and agent_of(event):
            return "agent"
        return None
