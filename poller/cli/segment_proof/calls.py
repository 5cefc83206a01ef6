"""The newest log events, the calls made of them, and the verdicts of the tracking plan."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from poller.adapters.segment.encoding import MessageEncoder
from poller.adapters.segment.tracking_plan import PlanVerdict, TrackingPlan, UnreadableRuleError
from poller.cli.segment_proof.remedies import remedy
from poller.cli.wiring.services import Services, profiles_of, recorded_stream, rules_of
from poller.config import Settings
from poller.core.events import LogEvent
from poller.core.outcomes import Forwardable, Outcome
from poller.core.translation.translator import LiveTranslator
from poller.service.upstream.retry import retrying


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCall:
    """A verdict of the tracking plan on one call, and what to do about it."""

    message_id: str
    call: str
    effect: str
    field: str
    reason: str
    hint: str
    is_unplanned: bool = False

    def __str__(self) -> str:
        if self.effect == "omitted":
            return f"{self.call}: {self.field} would be dropped: it {self.reason}"
        doing = "would be blocked" if self.effect == "blocked" else "cannot be judged"
        subject = f"{self.field} " if self.field else ""
        return f"{self.call} {doing}: {subject}{self.reason}"


def newest_events(settings: Settings, services: Services, last: int) -> Sequence[LogEvent]:
    """Return the newest events of interest, newest first.

    Raises:
        TransientError, FatalError: Auth0 cannot be read.
    """
    types = sorted(rules_of(settings).types)
    for attempt in retrying():
        with attempt:
            events = services.search.find(types=types, most=last)
    return events


def newest_calls(
    settings: Settings, services: Services, last: int
) -> list[tuple[LogEvent, Outcome]]:
    """Return the newest events of interest with their outcomes, newest first.

    Raises:
        TransientError, FatalError: Auth0 cannot be read.
    """
    return outcomes_of(settings, services, newest_events(settings, services, last))


def outcomes_of(
    settings: Settings, services: Services, events: Sequence[LogEvent]
) -> list[tuple[LogEvent, Outcome]]:
    """Return the events with their outcomes, from these settings and the profiles of now.

    Raises:
        TransientError, FatalError: the profiles cannot be read.
    """
    translator = LiveTranslator(recorded_stream(settings), rules_of(settings))
    directory = profiles_of(settings, services)
    selection = translator.select(events)
    for attempt in retrying():
        with attempt:
            profiles = directory.of(selection.users)
    return list(zip(events, translator.outcomes(selection, profiles), strict=True))


def calls_of(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the calls of an event as they are posted."""
    if not isinstance(outcome, Forwardable):
        return []
    encoder = MessageEncoder()
    return [json.loads(encoder.encode(message)) for message in outcome.messages]


def judge(
    calls: Iterable[dict[str, Any]], plan: TrackingPlan, settings: Settings
) -> list[JudgedCall]:
    """Return every effect of the plan on these calls."""
    judged: list[JudgedCall] = []
    for call in calls:
        try:
            verdicts = plan.judge(call)
        except UnreadableRuleError as error:
            judged.append(_unreadable(call, error))
            continue
        judged += [_judged(verdict, call, plan, settings) for verdict in verdicts]
    return judged


def _judged(
    verdict: PlanVerdict, call: dict[str, Any], plan: TrackingPlan, settings: Settings
) -> JudgedCall:
    return JudgedCall(
        message_id=call["messageId"],
        call=name_of(call),
        effect=verdict.effect,
        field=".".join(verdict.path),
        reason=verdict.reason,
        hint=remedy(verdict, call, settings, plan.events),
        is_unplanned=verdict.is_unplanned,
    )


def _unreadable(call: dict[str, Any], error: UnreadableRuleError) -> JudgedCall:
    return JudgedCall(
        message_id=call["messageId"],
        call=name_of(call),
        effect="unknown",
        field="",
        reason=f"the rule of the plan cannot be applied here ({error})",
        hint="look at the rule in Segment",
    )


def name_of(call: dict[str, Any]) -> str:
    """Return the name of the call for people, such as `track Logged In`."""
    if call["type"] == "track":
        return f"track {call['event']}"
    return str(call["type"])
