import threading
from datetime import timedelta

import pytest

from poller.core.errors import TransientError
from poller.service.upstream.bucket_belief import TenantLimits
from poller.service.upstream.rate_limit import RateLimiter
from tests.fake_time import Stopping


@pytest.fixture
def stopping() -> Stopping:
    return Stopping()


@pytest.fixture
def rate_limiter(stopping: Stopping) -> RateLimiter:
    return RateLimiter(stopping, monotonic=lambda: stopping.now)


def test_the_first_request_does_not_wait(rate_limiter: RateLimiter, stopping: Stopping) -> None:
    rate_limiter.acquire("logs")
    assert stopping.waits == []


def test_the_last_token_goes_out_and_the_next_request_waits_for_the_reset(
    rate_limiter: RateLimiter, stopping: Stopping
) -> None:
    rate_limiter.observe("logs", limit=10, remaining=1, reset_in=timedelta(seconds=3))
    rate_limiter.acquire("logs")
    assert stopping.waits == []
    rate_limiter.acquire("logs")
    assert stopping.waits == [3.0]


def test_buckets_do_not_wait_for_each_other(rate_limiter: RateLimiter, stopping: Stopping) -> None:
    rate_limiter.observe("users", limit=40, remaining=40, reset_in=timedelta(seconds=3))
    rate_limiter.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=3))
    rate_limiter.acquire("users")
    assert stopping.waits == []
    rate_limiter.acquire("logs")
    assert stopping.waits == [3.0]


def test_endpoints_of_one_limit_share_a_bucket_and_an_unknown_endpoint_may_share_any(
    rate_limiter: RateLimiter, stopping: Stopping
) -> None:
    rate_limiter.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=3))
    rate_limiter.acquire("users")
    assert stopping.waits == [3.0]
    rate_limiter.observe("users", limit=10, remaining=0, reset_in=timedelta(seconds=2))
    rate_limiter.acquire("logs")
    assert stopping.waits == [3.0, 2.0]


def test_an_absurd_reset_is_not_believed(rate_limiter: RateLimiter, stopping: Stopping) -> None:
    rate_limiter.observe("logs", limit=10, remaining=0, reset_in=timedelta(days=300))
    rate_limiter.acquire("logs")
    assert stopping.waits == [60.0]


def test_a_stop_ends_the_wait(rate_limiter: RateLimiter, stopping: Stopping) -> None:
    rate_limiter.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=3))
    stopping.set()
    with pytest.raises(TransientError, match="stopped"):
        rate_limiter.acquire("logs")


@pytest.mark.parametrize(
    ("limit", "share", "kept"),
    [(50, 0.8, 10), (10, 0.8, 2), (2, 0.8, 1), (2, 0.1, 1), (1, 0.5, 0), (50, 1.0, 0), (0, 0.8, 0)],
)
def test_a_part_of_the_bucket_is_left_to_others(
    stopping: Stopping, limit: int, share: float, kept: int
) -> None:
    rate_limiter = RateLimiter(stopping, share=share, monotonic=lambda: stopping.now)
    rate_limiter.observe("logs", limit=limit, remaining=limit, reset_in=timedelta(seconds=1))
    for _ in range(limit - kept):
        rate_limiter.acquire("logs")
    assert stopping.waits == []
    rate_limiter.acquire("logs")
    assert stopping.waits == [1.0]


def test_one_request_a_reset_goes_out_where_others_hold_the_bucket_low(stopping: Stopping) -> None:
    rate_limiter = RateLimiter(stopping, share=0.8, monotonic=lambda: stopping.now)
    for _ in range(5):
        rate_limiter.observe("logs", limit=50, remaining=3, reset_in=timedelta(seconds=1))
        rate_limiter.acquire("logs")
    assert stopping.waits == [1.0] * 5


def with_a_proved_refill(stopping: Stopping, rate_limiter: RateLimiter) -> None:
    """Let the answers prove that at least 5 requests come back in a second."""
    rate_limiter.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=1))
    rate_limiter.acquire("logs")
    rate_limiter.observe("logs", limit=10, remaining=5, reset_in=timedelta(seconds=1))
    assert left(rate_limiter) == 5
    stopping.now += 1
    assert left(rate_limiter) == 10


def left(rate_limiter: RateLimiter) -> float:
    found = rate_limiter.status("logs")
    assert found is not None
    return found.remaining


def test_a_full_bucket_keeps_room_for_the_requests_under_way(stopping: Stopping) -> None:
    worker = [0]
    rate_limiter = RateLimiter(stopping, monotonic=lambda: stopping.now, caller=lambda: worker[0])
    with_a_proved_refill(stopping, rate_limiter)
    for number in range(1, 6):
        worker[0] = number
        rate_limiter.acquire("logs")
    stopping.now += 10
    # The server may take these five off its full bucket only now.
    assert left(rate_limiter) == 5


def test_no_refill_is_believed_where_others_always_empty_the_bucket(
    stopping: Stopping,
) -> None:
    rate_limiter = RateLimiter(stopping, share=0.8, monotonic=lambda: stopping.now)
    with_a_proved_refill(stopping, rate_limiter)
    for _ in range(8):
        rate_limiter.acquire("logs")
        rate_limiter.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=1))
        stopping.now += 1000
    assert left(rate_limiter) == 0
    rate_limiter.acquire("logs")
    rate_limiter.observe("logs", limit=10, remaining=9, reset_in=timedelta(seconds=1))
    stopping.now += 1000
    assert left(rate_limiter) == 10


def test_a_refusal_halves_the_refill_that_is_believed(
    rate_limiter: RateLimiter, stopping: Stopping
) -> None:
    with_a_proved_refill(stopping, rate_limiter)
    rate_limiter.acquire("logs")
    rate_limiter.observe(
        "logs", limit=10, remaining=0, reset_in=timedelta(seconds=1), is_refused=True
    )
    found = rate_limiter.status("logs")
    assert found is not None
    assert (found.remaining, found.per_second) == (0, 2.5)


def test_a_request_without_an_answer_is_no_longer_under_way(stopping: Stopping) -> None:
    worker = [0]
    rate_limiter = RateLimiter(stopping, monotonic=lambda: stopping.now, caller=lambda: worker[0])
    with_a_proved_refill(stopping, rate_limiter)
    worker[0] = 1
    rate_limiter.acquire("logs")
    rate_limiter.observe_nothing("logs")
    stopping.now += 10
    assert left(rate_limiter) == 10


def test_a_bucket_that_is_full_after_each_request_proves_its_refill_too(
    rate_limiter: RateLimiter, stopping: Stopping
) -> None:
    for _ in range(8):
        rate_limiter.acquire("logs")
        rate_limiter.observe("logs", limit=10, remaining=9, reset_in=timedelta(seconds=1))
        stopping.now += 1
    found = rate_limiter.status("logs")
    assert found is not None
    assert 0.7 < found.per_second <= 1


def test_work_that_can_wait_has_room_while_half_of_the_bucket_is_left(
    rate_limiter: RateLimiter, stopping: Stopping
) -> None:
    assert rate_limiter.has_room("logs")
    with_a_proved_refill(stopping, rate_limiter)
    for is_left, has_room in ((9, True), (5, True), (4, False), (0, False)):
        rate_limiter.acquire("logs")
        rate_limiter.observe("logs", limit=10, remaining=is_left, reset_in=timedelta(seconds=1))
        assert rate_limiter.has_room("logs") is has_room


def test_the_background_waits_for_the_refill_and_leaves_the_reserve_to_live_polling(
    rate_limiter: RateLimiter, stopping: Stopping
) -> None:
    with_a_proved_refill(stopping, rate_limiter)
    rate_limiter.acquire("logs")
    stopping.waits.clear()
    rate_limiter.observe("logs", limit=10, remaining=2, reset_in=timedelta())
    rate_limiter.acquire_in_background("logs", stopping)
    # Two tokens more. Half of the five a second is believed, since others took tokens.
    assert sum(stopping.waits) == pytest.approx(0.8, abs=0.01)
    stopping.waits.clear()
    for _ in range(3):
        rate_limiter.acquire("logs")
    assert stopping.waits == []


def test_a_stopped_live_request_no_longer_holds_the_background_back(
    rate_limiter: RateLimiter, stopping: Stopping
) -> None:
    with_a_proved_refill(stopping, rate_limiter)
    rate_limiter.acquire("logs")
    rate_limiter.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=9))
    stopping.set()
    with pytest.raises(TransientError):
        rate_limiter.acquire("logs")
    stopping.now += 10
    stopping.waits.clear()
    rate_limiter.acquire_in_background("logs", threading.Event())
    assert stopping.waits == []


def test_work_in_the_background_leaves_its_room_to_work_that_can_wait(
    rate_limiter: RateLimiter, stopping: Stopping
) -> None:
    with_a_proved_refill(stopping, rate_limiter)
    rate_limiter.acquire_in_background("logs", stopping)
    rate_limiter.observe("logs", limit=10, remaining=1, reset_in=timedelta(seconds=1))
    assert rate_limiter.has_room("logs")
    stopping.now += 11
    rate_limiter.acquire("logs")
    rate_limiter.observe("logs", limit=10, remaining=1, reset_in=timedelta(seconds=1))
    assert not rate_limiter.has_room("logs")


def test_rate_limiters_of_one_tenant_are_together_as_fast_as_one(stopping: Stopping) -> None:
    tenant = TenantLimits()
    shop, rest = (
        RateLimiter(stopping, monotonic=lambda: stopping.now, tenant=tenant) for _ in range(2)
    )
    shop.acquire("logs")
    shop.observe("logs", limit=10, remaining=2, reset_in=timedelta(seconds=30))
    began_at = stopping.now
    rest.acquire("logs")
    rest.observe("logs", limit=10, remaining=1, reset_in=timedelta(seconds=30))
    assert left(shop) == 1
    shop.acquire("logs")
    shop.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=30))
    assert stopping.now == began_at
    rest.acquire("logs")
    assert stopping.now - began_at >= 29
