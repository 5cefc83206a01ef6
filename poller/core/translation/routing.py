"""The routes of a tenant, which divide its events among several Segment sources."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from poller.core.events import LogEvent
from poller.core.log_ids import LogId
from poller.core.spans import LogRange, is_in
from poller.core.translation.expressions import EvaluationError, Expression, holds

_SETTLED = ""
"""Stands for the route of an event that some route settled before a change. No route has it."""
_Taken = tuple[str | None, EvaluationError | None]
"""The name of the route that takes an event, and the error if it could not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route to one Segment source. It takes the events for which `when` holds.

    `when` looks at the event alone. Without it, the route takes every event.
    """

    name: str
    when: Expression | None = None

    def takes(self, event: LogEvent) -> bool:
        """Return whether the condition holds. No condition keeps an event that cannot be read.

        Raises:
            EvaluationError: the condition cannot be evaluated on this event.
        """
        is_unreadable = event.defect is not None and not event.type
        return is_unreadable or self.when is None or holds(self.when, event, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChange:
    """A change of the routes, for the events that some route had still ahead of it.

    Each route reads the log by itself, so at a change they stand at different positions. `until` is
    the highest of them. Up to it the routes `before` the change still divide the events, and each
    route that is left goes on with its own. A removed route is no longer there to do so. Its events
    in `unread` go where the new routes send them. These are the parts that it had not settled, or
    where it still looked for late arrivals. There, the events with the ids `settled` are settled.

    A route may have read such a part already. Then it reads the part once more for the sake of
    these events. `read_again` says where. Its other events there are settled.
    """

    until: LogId
    before: tuple[Route, ...]
    unread: Mapping[str, tuple[LogRange, ...]] = field(default_factory=dict)
    settled: Mapping[str, frozenset[LogId]] = field(default_factory=dict)
    read_again: Mapping[str, tuple[LogRange, ...]] = field(default_factory=dict)

    def is_left(self, event: LogEvent, route: str) -> bool:
        """Return whether a removed route has left this event of its own to others."""
        is_unread = is_in(self.unread.get(route, ()), event.log_id)
        return is_unread and event.log_id not in self.settled.get(route, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The routes of a tenant in their order, and the `own` one, whose rules these are.

    The first route that takes an event is its only one. All routes decide by the event alone, so
    they agree on it, whenever each of them reads it. The `changes` that led to these routes are
    in order, the oldest first.
    """

    routes: tuple[Route, ...]
    own: str
    changes: tuple[RouteChange, ...] = ()

    def objection(self, event: LogEvent) -> Literal["other_route", "no_route"] | None:
        """Return None if the own route takes the event, and otherwise why it does not.

        A route takes each event on which its condition cannot be evaluated, too. The first route
        takes each event that cannot be read, since no condition can tell whose it is.

        Raises:
            EvaluationError: the own condition cannot be evaluated on the event.
        """
        name, error = self._taken(event, len(self.changes))
        if name is None:
            return "no_route"
        if name != self.own:
            return "other_route"
        if error is not None:
            raise error
        return None

    def taker(self, event: LogEvent) -> str | None:
        """Return the name of the route that takes the event, or None."""
        return self._taken(event, len(self.changes))[0]

    def for_unsettled(self) -> "Routing":
        """Return the routing for events that are known not to be settled by the own route.

        Those are late arrivals, and what went to a wrong write key.
        """
        return replace(self, changes=tuple(replace(each, read_again={}) for each in self.changes))

    def _taken(self, event: LogEvent, number: int) -> _Taken:
        """Return who takes the event by the routes that this many changes led to."""
        is_present = number == len(self.changes)
        routes = self.routes if is_present else self.changes[number].before
        change = self.changes[number - 1] if number else None
        if change is None or event.log_id > change.until:
            return _first(routes, event)
        name, error = self._taken(event, number - 1)
        if name is None or is_in(change.read_again.get(name, ()), event.log_id):
            return name and _SETTLED, None
        if any(route.name == name for route in routes):
            return name, error
        if change.is_left(event, name):
            return _first(routes, event)
        return _SETTLED, None


def _first(routes: Iterable[Route], event: LogEvent) -> _Taken:
    """Return the first route that takes the event, or cannot tell."""
    for route in routes:
        try:
            if route.takes(event):
                return route.name, None
        except EvaluationError as error:
            return route.name, error
    return None, None
