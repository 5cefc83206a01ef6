"""The guard around each event: an odd record becomes a dead letter and does not stop the log."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from poller.core.errors import TransientError
from poller.core.events import LogEvent
from poller.core.outcomes import DeadLetter
from poller.core.translation.expressions import EvaluationError

_ERRORS_OF_A_RECORD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""The errors that a record of an odd form makes Python raise.

Each of them is a bug of this program. The event becomes a dead letter anyway, since one
record must not stop the log, and a replay sends the event once the bug is mended. Any other error
is not the record's fault. Then nothing of the page is settled.
"""

T = TypeVar("T")
P = ParamSpec("P")


def guarded(
    event: LogEvent, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T | DeadLetter:
    """Return the result of a step on the event, or a dead letter if the record makes it fail.

    Raises:
        TransientError: this machine has no memory left.
    """
    try:
        return step(*args, **kwargs)
    except EvaluationError:
        return DeadLetter(event=event, reason="expression_failed")
    except _ERRORS_OF_A_RECORD:
        return DeadLetter(event=event, reason="untranslatable")
    except MemoryError:
        raise TransientError(
            f"this machine has no memory left to translate {event.log_id}"
        ) from None
