"""The routes of a tenant, which divide its events among several Segment sources."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from poller.core.events import LogEvent
from poller.core.translation.expressions import EvaluationError, Expression, holds


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
class Routing:
    """The routes of a tenant in their order, and the `own` one, whose rules these are.

    The first route that takes an event is its only one. All routes decide by the event alone, so
    they agree on it, whenever each of them reads it.
    """

    routes: tuple[Route, ...]
    own: str

    def objection(self, event: LogEvent) -> Literal["other_route", "no_route"] | None:
        """Return None if the own route takes the event, and otherwise why it does not.

        A route takes each event on which its condition cannot be evaluated, too. The first route
        takes each event that cannot be read, since no condition can tell whose it is.

        Raises:
            EvaluationError: the own condition cannot be evaluated on the event.
        """
        for route in self.routes:
            try:
                is_taken = route.takes(event)
            except EvaluationError:
                if route.name == self.own:
                    raise
                is_taken = True
            if is_taken:
                return None if route.name == self.own else "other_route"
        return "no_route"

    def taker(self, event: LogEvent) -> str | None:
        """Return the name of the route that takes the event, or None."""
        for route in self.routes:
            with suppress(EvaluationError):
                if not route.takes(event):
                    continue
            return route.name
        return None
