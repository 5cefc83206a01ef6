"""How long to wait after a failure."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta

import stamina
import structlog

from poller.core.errors import PollerError, TransientError, UnknownHostError

_SHORTEST_WAIT = timedelta(seconds=1)

log = structlog.get_logger()

PATIENCE = timedelta(seconds=20)
"""How long a one-shot command keeps trying without a success."""


LONG_PATIENCE = timedelta(minutes=10)
"""How long a backfill does: it is long work, and an outage of minutes is no reason to begin anew by hand."""


class Backoff:
    """Doubling delays with jitter, from one second to a minute; what a server asked for comes first."""

    def __init__(
        self,
        *,
        first: timedelta = timedelta(seconds=1),
        most: timedelta = timedelta(minutes=1),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first, self._most, self._jitter = first, most, jitter
        self._failures = 0

    def failed(self, error: PollerError) -> timedelta:
        """The delay before the next attempt; never shorter than the server asked for."""
        asked = error.retry_after if isinstance(error, TransientError) else None
        doublings = min(self._failures, 16)  # 2**16 s is far beyond `most`
        self._failures += 1
        ceiling_s = min(self._first.total_seconds() * 2**doublings, self._most.total_seconds())
        delay = timedelta(seconds=ceiling_s * (0.5 + self._jitter() / 2))
        if asked is None:
            return delay
        # A server that says "at once" again and again does not end the doubling.
        return max(asked + self._first * self._jitter(), delay)

    def succeeded(self) -> None:
        self._failures = 0


class _Attempt(AbstractContextManager["_Attempt"]):
    """One try; what later may do is kept, anything else comes through."""

    def __init__(self) -> None:
        self.error: TransientError | None = None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.error = error if isinstance(error, TransientError) else None
        return self.error is not None


def persistently(
    stopping: threading.Event, patience: timedelta, *, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[AbstractContextManager[object]]:
    """As `patiently`, for long work that is to end at once when it is told to; waits for as long as a server asks.

    A wait that a server asks for does not count against the patience.
    """
    backoff, began = Backoff(most=timedelta(seconds=15)), monotonic()
    while True:
        attempt = _Attempt()
        yield attempt
        if attempt.error is None:
            return
        delay = backoff.failed(attempt.error)
        asked_s = attempt.error.retry_after.total_seconds() if attempt.error.retry_after else 0.0
        began += asked_s
        if stopping.is_set() or monotonic() - began > patience.total_seconds():
            raise attempt.error
        log.warning("attempt.failed", reason=str(attempt.error), retry_in_s=round(delay.total_seconds(), 1))
        if stopping.wait(delay.total_seconds()):
            raise attempt.error


def patiently(patience: timedelta = PATIENCE) -> Iterator[AbstractContextManager[object]]:
    """Attempts at one step of a one-shot command, until it succeeds or `patience` is over.

    Used as `for attempt in patiently(): with attempt: …`; the last TransientError comes through.
    """

    def later(error: Exception) -> bool | timedelta:
        if not isinstance(error, TransientError) or isinstance(error, UnknownHostError):
            return False
        if error.retry_after is None:
            return True
        # A server that says "at once" is not taken at its word.
        return max(error.retry_after, _SHORTEST_WAIT) if error.retry_after < patience else False

    stamina.instrumentation.set_on_retry_hooks([_tell])
    yield from stamina.retry_context(
        on=later, attempts=None, timeout=patience, wait_initial=0.5, wait_max=5.0, wait_jitter=0.5
    )


def _tell(details: stamina.instrumentation.RetryDetails) -> None:
    log.warning("attempt.failed", reason=str(details.caused_by), retry_in_s=round(details.wait_for, 1))
