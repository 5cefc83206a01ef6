"""Long work tries for long, waits as it is asked to, and ends at once when told to."""

from datetime import timedelta

import pytest

from poller.core.errors import FatalError, TransientError
from poller.service.upstream.retry import persistently
from tests.service.test_pacing import Stopping

MINUTE = timedelta(minutes=1)


def tried(stopping: Stopping, *errors: Exception | None, patience: timedelta = MINUTE) -> int:
    """How often it was tried until it went."""
    left = list(errors)
    count = 0
    for attempt in persistently(stopping, patience, monotonic=lambda: stopping.now):
        with attempt:
            count += 1
            error = left.pop(0) if left else None
            if error is not None:
                raise error
    return count


def test_it_tries_until_it_goes() -> None:
    stopping = Stopping()
    assert tried(stopping, TransientError("once"), TransientError("twice")) == 3
    assert len(stopping.waits) == 2


def test_it_waits_for_as_long_as_a_server_asks_which_is_no_impatience() -> None:
    stopping = Stopping()
    asks = TransientError("429", retry_after=timedelta(minutes=5))
    assert tried(stopping, asks, asks, None) == 3
    assert all(wait >= 300 for wait in stopping.waits)


def test_after_its_patience_it_gives_up() -> None:
    with pytest.raises(TransientError, match="for ever"):
        tried(Stopping(), *(TransientError("for ever") for _ in range(100)))


def test_told_to_stop_it_does_not_try_again() -> None:
    stopping = Stopping()
    stopping.set()
    with pytest.raises(TransientError, match="once"):
        tried(stopping, TransientError("once"))
    assert stopping.waits == []


def test_what_is_for_good_comes_through() -> None:
    with pytest.raises(FatalError):
        tried(Stopping(), FatalError("never", hint="do something"))
