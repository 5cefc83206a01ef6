"""The expressions of the settings, as the rules of translation see them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from poller.core.events import LogEvent

if TYPE_CHECKING:  # every command reads settings, and few of them translate
    from poller.core.outcomes import Profile


class Expression(Protocol):
    """A pure function of a profile and a record. Either may be anything that JSON can be."""

    @property
    def text(self) -> str:
        """The expression as the settings have it."""
        ...

    @property
    def user_fields(self) -> frozenset[str] | None:
        """The fields of the profile that the expression looks at. None stands for any field."""
        ...

    @property
    def names_user(self) -> bool:
        """True if the expression looks at the profile at all."""
        ...

    @property
    def names_log(self) -> bool:
        """True if the expression looks at the event at all."""
        ...

    def of(self, user: Mapping[str, Any] | None, log: Mapping[str, Any]) -> Any:
        """Return the value of the expression. `user` is None if there is no profile.

        Raises:
            ValueError: the expression cannot be evaluated, for example a text function on a number.
        """
        ...


Lines = Mapping[str, Expression | None]
"""Traits or properties from the settings, which replace the preset's. None removes one."""


class EvaluationError(Exception):
    """An expression that decides about an event cannot be evaluated on the event."""


def evaluate(expression: Expression, event: LogEvent, profile: "Profile | None") -> Any:
    """Return the value of an expression that decides about the event.

    Raises:
        EvaluationError: the expression cannot be evaluated on this event and profile.
    """
    try:
        return expression.of(profile.fields if profile else None, event.record)
    except ValueError as error:
        raise EvaluationError from error


def evaluate_or_none(expression: Expression, event: LogEvent, profile: "Profile | None") -> Any:
    """Return the value of an expression, or None if it cannot be evaluated."""
    try:
        return evaluate(expression, event, profile)
    except EvaluationError:
        return None


def holds(condition: Expression, event: LogEvent, profile: "Profile | None") -> bool:
    """Return whether a condition holds.

    JMESPath takes null, false and all that is empty for false. A number is never false.

    Raises:
        EvaluationError: the condition cannot be evaluated on this event and profile.
    """
    value = evaluate(condition, event, profile)
    return value is not None and value is not False and value not in ("", [], {})
