"""The wait after a failure, and the end of waiting where answers stay unusable."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta

import stamina
import structlog

from poller.core.errors import (
    FatalError,
    PollerError,
    TransientError,
    UnknownHostError,
    UnusableAnswerError,
)

SHORTEST_ASKED, LONGEST_ASKED = timedelta(seconds=0.5), timedelta(minutes=10)
"""A wait that a service asks for is believed between these two."""
UNUSABLE_LIMIT = 3
"""So many unusable answers of one service, and nothing settled between them, need somebody to look."""

log = structlog.get_logger()

PATIENCE = timedelta(seconds=20)
"""How long a one-shot command keeps trying without a success."""


LONG_PATIENCE = timedelta(minutes=10)
"""How long a backfill does: it is long work, and an outage of minutes is no reason to begin anew by hand."""


class Backoff:
    """The delays after failures. A wait that a service asks for comes first.

    Otherwise the delays double, with jitter, from one second to a minute. Each service has its own
    count of failures, so that trouble with one makes nobody wait longer for the other.
    """

    def __init__(
        self,
        *,
        first: timedelta = timedelta(seconds=1),
        most: timedelta = timedelta(minutes=1),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first, self._most, self._jitter = first, most, jitter
        self._failures: dict[str, int] = {}
        self._unusable: Counter[str] = Counter()

    def failed(self, error: PollerError) -> timedelta:
        """Return the delay before the next attempt; never shorter than the service asked for."""
        asked = asked_wait(error)
        if asked is not None:
            return min(asked * (1 + self._jitter() / 10), LONGEST_ASKED)
        service = error.service if isinstance(error, TransientError) else ""
        failures = self._failures.get(service, 0)
        self._failures[service] = failures + 1
        doublings = min(failures, 16)  # 2**16 s is far beyond `most`
        ceiling_s = min(self._first.total_seconds() * 2**doublings, self._most.total_seconds())
        return timedelta(seconds=ceiling_s * (0.5 + self._jitter() / 2))

    def judged(self, error: TransientError) -> FatalError | None:
        """Count an unusable answer; return the fatal error if it is one too many of that service.

        Between two of them no page was settled. Other errors are no answers, and count for nothing.
        """
        if not isinstance(error, UnusableAnswerError):
            return None
        self._unusable[error.service] += 1
        if self._unusable[error.service] < UNUSABLE_LIMIT:
            return None
        return FatalError(f"{error}, three times in a row", hint=error.hint)

    def succeeded(self) -> None:
        """Begin anew: a page was settled, so that both services answered well."""
        self._failures.clear()
        self._unusable.clear()


def asked_wait(error: PollerError) -> timedelta | None:
    """Return the wait that the service asked for, within bounds, or None if it asked for none."""
    if not isinstance(error, TransientError) or error.retry_after is None:
        return None
    return min(max(error.retry_after, SHORTEST_ASKED), LONGEST_ASKED)


class _Attempt(AbstractContextManager["_Attempt"]):
    """One try; what later may do is kept, anything else comes through."""

    def __init__(self) -> None:
        self.error: TransientError | None = None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.error = error if isinstance(error, TransientError) else None
        return self.error is not None


def persistently(
    stopping: threading.Event,
    patience: timedelta,
    *,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[AbstractContextManager[object]]:
    """As `patiently`, for long work that ends at once when it is told to.

    A wait that a service asks for does not count against the patience.
    """
    backoff, began = Backoff(most=timedelta(seconds=15)), monotonic()
    while True:
        attempt = _Attempt()
        yield attempt
        if attempt.error is None:
            return
        final = backoff.judged(attempt.error)
        if final is not None:
            raise final
        delay = backoff.failed(attempt.error)
        began += (asked_wait(attempt.error) or timedelta()).total_seconds()
        if stopping.is_set() or monotonic() - began > patience.total_seconds():
            raise attempt.error
        log.warning(
            "attempt.failed", reason=str(attempt.error), retry_in_s=round(delay.total_seconds(), 1)
        )
        if stopping.wait(delay.total_seconds()):
            raise attempt.error


def patiently(patience: timedelta = PATIENCE) -> Iterator[AbstractContextManager[object]]:
    """Make attempts at one step of a one-shot command, until it succeeds or `patience` is over.

    Used as `for attempt in patiently(): with attempt: …`. The last TransientError comes through.

    Raises:
        FatalError: the answers stay unusable.
    """
    backoff = Backoff()
    final: FatalError | None = None

    def later(error: Exception) -> bool | timedelta:
        nonlocal final
        if not isinstance(error, TransientError) or isinstance(error, UnknownHostError):
            return False
        final = backoff.judged(error)
        if final is not None:
            return False
        asked = asked_wait(error)
        if asked is None:
            return True
        return asked if asked < patience else False

    stamina.instrumentation.set_on_retry_hooks([_tell])
    try:
        yield from stamina.retry_context(
            on=later,
            attempts=None,
            timeout=patience,
            wait_initial=0.5,
            wait_max=5.0,
            wait_jitter=0.5,
        )
    except UnusableAnswerError as error:
        raise final or error from None


def _tell(details: stamina.instrumentation.RetryDetails) -> None:
    log.warning(
        "attempt.failed", reason=str(details.caused_by), retry_in_s=round(details.wait_for, 1)
    )
