from datetime import timedelta

import pytest

from poller.core.errors import TransientError
from poller.service.upstream.rate_limit import RateLimiter
from tests.fake_time import Stopping


@pytest.fixture
def stopping() -> Stopping:
    return Stopping()


@pytest.fixture
def budget(stopping: Stopping) -> RateLimiter:
    return RateLimiter(stopping, monotonic=lambda: stopping.now)


def test_nothing_is_waited_for_before_a_limit_is_known(
    budget: RateLimiter, stopping: Stopping
) -> None:
    budget.acquire("logs")
    assert stopping.waits == []


def test_the_last_token_goes_out_and_the_next_request_waits_for_the_reset(
    budget: RateLimiter, stopping: Stopping
) -> None:
    budget.observe("logs", limit=10, remaining=1, reset_in=timedelta(seconds=3))
    budget.acquire("logs")
    assert stopping.waits == []
    budget.acquire("logs")
    assert stopping.waits == [3.0]


def test_buckets_do_not_wait_for_each_other(budget: RateLimiter, stopping: Stopping) -> None:
    budget.observe("users", limit=40, remaining=40, reset_in=timedelta(seconds=3))
    budget.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=3))
    budget.acquire("users")
    assert stopping.waits == []
    budget.acquire("logs")
    assert stopping.waits == [3.0]


def test_endpoints_of_one_limit_share_it_and_one_that_is_not_known_may_share_any(
    budget: RateLimiter, stopping: Stopping
) -> None:
    budget.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=3))
    budget.acquire("users")
    assert stopping.waits == [3.0]
    budget.observe("users", limit=10, remaining=0, reset_in=timedelta(seconds=2))
    budget.acquire("logs")
    assert stopping.waits == [3.0, 2.0]


def test_an_absurd_reset_is_not_believed(budget: RateLimiter, stopping: Stopping) -> None:
    budget.observe("logs", limit=10, remaining=0, reset_in=timedelta(days=300))
    budget.acquire("logs")
    assert stopping.waits == [60.0]


def test_a_stop_ends_the_wait(budget: RateLimiter, stopping: Stopping) -> None:
    budget.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=3))
    stopping.set()
    with pytest.raises(TransientError, match="stopped"):
        budget.acquire("logs")


@pytest.mark.parametrize(
    ("limit", "share", "kept"),
    [(50, 0.8, 10), (10, 0.8, 2), (2, 0.8, 1), (2, 0.1, 1), (1, 0.5, 0), (50, 1.0, 0), (0, 0.8, 0)],
)
def test_a_part_of_the_bucket_is_left_to_others(
    stopping: Stopping, limit: int, share: float, kept: int
) -> None:
    budget = RateLimiter(stopping, share=share, monotonic=lambda: stopping.now)
    budget.observe("logs", limit=limit, remaining=limit, reset_in=timedelta(seconds=1))
    for _ in range(limit - kept):
        budget.acquire("logs")
    assert stopping.waits == []
    budget.acquire("logs")
    assert stopping.waits == [1.0]


def test_a_bucket_that_others_hold_low_is_looked_at_once_a_reset(stopping: Stopping) -> None:
    budget = RateLimiter(stopping, share=0.8, monotonic=lambda: stopping.now)
    for _ in range(5):
        budget.observe("logs", limit=50, remaining=3, reset_in=timedelta(seconds=1))
        budget.acquire("logs")
    assert stopping.waits == [1.0] * 5


def with_a_proved_refill(stopping: Stopping, budget: RateLimiter) -> None:
    """Let the answers prove that at least 5 requests come back in a second."""
    budget.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=1))
    budget.acquire("logs")
    budget.observe("logs", limit=10, remaining=5, reset_in=timedelta(seconds=1))
    assert left(budget) == 5
    stopping.now += 1
    assert left(budget) == 10


def left(budget: RateLimiter) -> float:
    found = budget.reading("logs")
    assert found is not None
    return found.left


def test_a_bucket_that_fills_up_keeps_room_for_what_is_under_way(stopping: Stopping) -> None:
    worker = [0]
    budget = RateLimiter(stopping, monotonic=lambda: stopping.now, caller=lambda: worker[0])
    with_a_proved_refill(stopping, budget)
    for number in range(1, 6):
        worker[0] = number
        budget.acquire("logs")
    stopping.now += 10
    # The server may take these five off its full bucket only now.
    assert left(budget) == 5


def test_a_bucket_that_others_always_empty_is_taken_for_empty_until_an_answer_tells(
    stopping: Stopping,
) -> None:
    budget = RateLimiter(stopping, share=0.8, monotonic=lambda: stopping.now)
    with_a_proved_refill(stopping, budget)
    for _ in range(8):
        budget.acquire("logs")
        budget.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=1))
        stopping.now += 1000
    assert left(budget) == 0
    budget.acquire("logs")
    budget.observe("logs", limit=10, remaining=9, reset_in=timedelta(seconds=1))
    stopping.now += 1000
    assert left(budget) == 10


def test_a_refusal_halves_the_refill_that_is_believed(
    budget: RateLimiter, stopping: Stopping
) -> None:
    with_a_proved_refill(stopping, budget)
    budget.acquire("logs")
    budget.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=1), is_refused=True)
    found = budget.reading("logs")
    assert found is not None
    assert (found.left, found.per_second) == (0, 2.5)


def test_a_request_without_an_answer_takes_no_room_any_more(stopping: Stopping) -> None:
    worker = [0]
    budget = RateLimiter(stopping, monotonic=lambda: stopping.now, caller=lambda: worker[0])
    with_a_proved_refill(stopping, budget)
    worker[0] = 1
    budget.acquire("logs")
    budget.missed("logs")
    stopping.now += 10
    assert left(budget) == 10


def test_a_bucket_that_is_full_after_each_request_proves_its_refill_too(
    budget: RateLimiter, stopping: Stopping
) -> None:
    for _ in range(8):
        budget.acquire("logs")
        budget.observe("logs", limit=10, remaining=9, reset_in=timedelta(seconds=1))
        stopping.now += 1
    found = budget.reading("logs")
    assert found is not None
    assert 0.7 < found.per_second <= 1


def test_there_is_room_for_what_can_wait_while_half_of_the_bucket_is_left(
    budget: RateLimiter, stopping: Stopping
) -> None:
    assert budget.has_room("logs")
    with_a_proved_refill(stopping, budget)
    for is_left, has_room in ((9, True), (5, True), (4, False), (0, False)):
        budget.acquire("logs")
        budget.observe("logs", limit=10, remaining=is_left, reset_in=timedelta(seconds=1))
        assert budget.has_room("logs") is has_room
