"""The delays between attempts, and when to give up.

A daemon and a command need different things. The daemon never gives up: its timer asks `Backoff`
for the delay before the next cycle. A step of a command is tried in a loop over `retrying`, which
gives up when its patience is over. Both use the same delays.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import structlog
from tenacity import RetryCallState, Retrying

from poller.core.errors import (
    FatalError,
    PollerError,
    TransientError,
    UnknownHostError,
    UnusableAnswerError,
)

SHORTEST_ASKED, LONGEST_ASKED = timedelta(seconds=0.5), timedelta(minutes=10)
"""The bounds of a delay that a service asks for. A value outside of them is moved to the bound."""
UNUSABLE_LIMIT = 3
"""The number of unusable answers of one service, with no page settled between, that is an error."""
PATIENCE = timedelta(seconds=20)
"""The time after which a step that a person waits for gives up."""
LONG_PATIENCE = timedelta(minutes=10)
"""The time after which a step of a backfill gives up.

A backfill is long work. A person should not have to start it again after a short outage.
"""
_SHORTEST_LIMIT, _LONGEST_LIMIT = timedelta(seconds=1), timedelta(seconds=15)
"""The bounds of the longest delay between the attempts at one step."""
_DELAYS_PER_PATIENCE = 4
"""The number of the longest delays that fit into a patience.

With longer delays a short patience would end long before its time, since no delay may end after it.
"""
_MOST_DOUBLINGS = 16  # 2**16 s is far above every limit, and the number stays small

log = structlog.get_logger()


class Backoff:
    """The delays after failures. Used by one thread.

    A delay that a service asks for comes first. Without one the delays double, with jitter, from
    `first` to `most`. Each service has its own count of failures, so an outage of one service
    does not lengthen the delays after a failure of the other.
    """

    def __init__(
        self,
        *,
        first: timedelta = timedelta(seconds=1),
        most: timedelta = timedelta(minutes=1),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first, self._most, self._jitter = first, most, jitter
        self._failures: Counter[str] = Counter()
        self._unusable: Counter[str] = Counter()

    def delay_after(self, error: PollerError) -> timedelta:
        """Count a failure and return the delay before the next attempt.

        The delay is never shorter than the service asked for, up to LONGEST_ASKED.
        """
        asked = asked_delay(error)
        if asked is not None:
            return min(asked * (1 + self._jitter() / 10), LONGEST_ASKED)
        service = getattr(error, "service", "")
        doublings = min(self._failures[service], _MOST_DOUBLINGS)
        self._failures[service] += 1
        ceiling = min(self._first * (1 << doublings), self._most)
        return ceiling * (0.5 + self._jitter() / 2)

    def fatal_if_repeated(self, error: TransientError) -> FatalError | None:
        """Count an unusable answer, and return a fatal error if it is one too many of its service.

        Other transient errors are not answers. They are not counted, and return None.
        """
        if not isinstance(error, UnusableAnswerError):
            return None
        self._unusable[error.service] += 1
        if self._unusable[error.service] < UNUSABLE_LIMIT:
            return None
        return FatalError(f"{error}, three times in a row", code="answer-unusable", hint=error.hint)

    def reset(self) -> None:
        """Forget all failures. Call this when a page was settled: both services answered well."""
        self._failures.clear()
        self._unusable.clear()


def asked_delay(error: PollerError) -> timedelta | None:
    """Return the delay that the service asked for, moved into the bounds, or None."""
    if not isinstance(error, TransientError) or error.retry_after is None:
        return None
    return min(max(error.retry_after, SHORTEST_ASKED), LONGEST_ASKED)


def retrying(
    patience: timedelta = PATIENCE,
    stopping: threading.Event | None = None,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> Retrying:
    """Make attempts at one step until it succeeds, for as long as `patience`.

    Use it as `for attempt in retrying(): with attempt: ...`. Only a TransientError leads to another
    attempt. The loop raises the last error when the next attempt would begin after `patience`.

    Give `stopping` for a step of long work. Then the loop ends at once when the event is set, a
    delay that a service asks for does not use up the patience, and an unknown host is tried again.
    Without it, a person waits for the step, so the error of a mistyped host is raised at once.

    Raises:
        TransientError: the patience is over, or `stopping` was set.
        FatalError: the step raised it, or a service gave UNUSABLE_LIMIT unusable answers.
    """
    policy = _RetryPolicy(patience, stopping, monotonic)
    return Retrying(
        retry=policy.is_retryable,
        wait=policy.delay_s,
        stop=policy.is_over,
        sleep=policy.sleep,
        before_sleep=_log_failure,
        reraise=True,
    )


class _RetryPolicy:
    """The decisions that tenacity asks for after each failure of one step."""

    def __init__(
        self,
        patience: timedelta,
        stopping: threading.Event | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._is_long_work = stopping is not None
        self._stopping = stopping or threading.Event()
        self._monotonic = monotonic
        self._ends_at = monotonic() + patience.total_seconds()
        most = max(_SHORTEST_LIMIT, patience / _DELAYS_PER_PATIENCE)
        self._backoff = Backoff(most=min(most, _LONGEST_LIMIT))

    def is_retryable(self, state: RetryCallState) -> bool:
        error = _error_of(state)
        if not isinstance(error, TransientError):
            return False
        final = self._backoff.fatal_if_repeated(error)
        if final is not None:
            raise final from error
        return self._is_long_work or not isinstance(error, UnknownHostError)

    def delay_s(self, state: RetryCallState) -> float:
        error = _error_of(state)
        if not isinstance(error, TransientError):
            return 0.0
        delay_s = self._backoff.delay_after(error).total_seconds()
        if self._is_long_work and error.retry_after is not None:
            self._ends_at += delay_s
        return delay_s

    def is_over(self, state: RetryCallState) -> bool:
        next_at = self._monotonic() + state.upcoming_sleep
        return self._stopping.is_set() or next_at > self._ends_at

    def sleep(self, seconds: float) -> None:
        # tenacity would make one more attempt after a stop event. Long work ends without it.
        if self._stopping.wait(seconds):
            raise TransientError("stopped while waiting for the next attempt")


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _log_failure(state: RetryCallState) -> None:
    log.warning(
        "attempt.failed",
        reason=str(_error_of(state)),
        retry_in_s=round(state.upcoming_sleep, 1),
    )
