"""The findings of `check` on the types of the newest events."""

from collections import Counter
from collections.abc import Iterator, Sequence

from poller.cli.checks import Finding
from poller.cli.views.wording import counted
from poller.cli.wiring.services import Services, rules_of
from poller.config import Settings
from poller.core.errors import PollerError
from poller.core.events import LogEvent
from poller.core.translation.event_facts import agent_of
from poller.core.translation.event_types import LOGIN_TYPES, group_of
from poller.core.translation.log_types import KNOWN_TYPES
from poller.core.translation.rules import Rules
from poller.service.lifecycle.exit_codes import Severity

ROUTES = "routes"
"""The subject of the finding on the routes."""
NEWEST = 100
"""The events that are looked at: one page of the search."""


def types_seen(events: Sequence[LogEvent], rules: Rules) -> Iterator[Finding]:
    """Say which of these events are sent, which could be sent, and which are of unknown types."""
    kinds = Counter(event.type for event in events if event.type)
    sent = sum(count for kind, count in kinds.items() if kind in rules.types)
    yield Finding(
        subject="events",
        text=f"the newest {counted(len(events), 'event')} hold {sent} of a type that is sent",
    )
    groups: Counter[str] = Counter()
    for kind, count in kinds.items():
        group = group_of(kind)
        if group and kind not in rules.types:
            groups[group] += count
    if groups:
        text = ", ".join(f"{group} ({count})" for group, count in groups.most_common())
        yield Finding(
            subject="events",
            text=f"these groups occur and are not sent: {text}. [events.types] can send them",
        )
    unknown = sorted(kinds.keys() - KNOWN_TYPES - rules.types)
    if unknown:
        yield Finding(
            subject="events",
            text=f"these types are in no list that Auth0 has published: {', '.join(unknown)}",
            hint="look at one of them in Auth0. [events.types] can send them",
            is_open=True,
        )
    agents = sum(
        event.type in rules.login_types and agent_of(event) is not None for event in events
    )
    if agents:
        treated = "counts them" if rules.include_agents else "leaves them out"
        yield Finding(
            subject="agents",
            text=f"logins by agents among them: {agents}. logins.include_agents {treated}",
        )


def events_by_route(events: Sequence[LogEvent], rules: Rules) -> Iterator[Finding]:
    """Say how many of these events each route takes, and how many none takes."""
    routing = rules.routing
    if routing is None:
        return
    takers = Counter(routing.taker(event) for event in events if event.type in rules.types)
    others = [f"{each.name} takes {takers[each.name]}" for each in routing.routes]
    others.remove(f"{routing.own} takes {takers[routing.own]}")
    text = f"takes {takers[routing.own]} of the newest {counted(takers.total(), 'event')}"
    text += f" of a type that is sent; {', '.join([*others, f'no route takes {takers[None]}'])}"
    yield Finding(
        subject=ROUTES,
        text=text,
        hint="a last route without `when` takes what no other takes" if takers[None] else None,
    )


def newest_events(settings: Settings, services: Services) -> Iterator[Finding]:
    """Report on the newest events. An earlier finding tells if the log cannot be read."""
    try:
        newest = services.search.find(most=NEWEST)
    except PollerError:
        return
    yield from types_seen(newest, rules_of(settings))
    yield from events_by_route(newest, rules_of(settings))
    if services.log.has_other_link:
        yield Finding(
            subject="log",
            text="the link to the next page names another position than the last event has",
            hint="the program goes on from the event. Please report it as an issue of this program",
            is_open=True,
        )


def twice_counted(settings: Settings) -> Iterator[Finding]:
    """Report login types that count some logins twice, because `s` counts them too."""
    for kind in sorted(settings.logins.types):
        why = LOGIN_TYPES[kind]
        if why is not None and len(settings.logins.types) > 1:
            text = f"{kind} in logins.types counts some logins twice: {why}"
            yield Finding(
                subject="logins",
                text=text,
                hint="remove it from logins.types",
                severity=Severity.ATTENTION,
            )
