import threading
from datetime import timedelta

import pytest

from poller.core.errors import TransientError
from poller.service.pacing import RateBudget


class Stopping(threading.Event):
    """An event whose waits move a clock instead of taking time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now += timeout
        return self.is_set()


@pytest.fixture
def stopping() -> Stopping:
    return Stopping()


@pytest.fixture
def budget(stopping: Stopping) -> RateBudget:
    return RateBudget(stopping, monotonic=lambda: stopping.now)


def test_nothing_is_waited_for_before_a_limit_is_known(budget: RateBudget, stopping: Stopping) -> None:
    budget.acquire("logs")
    assert stopping.waits == []


def test_the_last_token_goes_out_and_the_next_request_waits_for_the_reset(
    budget: RateBudget, stopping: Stopping
) -> None:
    budget.observe("logs", limit=10, remaining=1, reset_in=timedelta(seconds=3))
    budget.acquire("logs")
    assert stopping.waits == []
    budget.acquire("logs")
    assert stopping.waits == [3.0]


def test_buckets_do_not_wait_for_each_other(budget: RateBudget, stopping: Stopping) -> None:
    budget.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=3))
    budget.acquire("users")
    assert stopping.waits == []


def test_an_absurd_reset_is_not_believed(budget: RateBudget, stopping: Stopping) -> None:
    budget.observe("logs", limit=10, remaining=0, reset_in=timedelta(days=300))
    budget.acquire("logs")
    assert stopping.waits == [60.0]


def test_a_stop_ends_the_wait(budget: RateBudget, stopping: Stopping) -> None:
    budget.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=3))
    stopping.set()
    with pytest.raises(TransientError, match="stopped"):
        budget.acquire("logs")
