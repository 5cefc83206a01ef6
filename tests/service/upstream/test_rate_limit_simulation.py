"""The rate limiter against a tenant's bucket, in simulated time.

It must be as fast as the bucket allows, and never be refused.
"""

import heapq
import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.service.upstream.rate_limit import RateLimiter


@dataclass(kw_only=True)
class Tenant:
    """A token bucket, served in the order in which requests arrive."""

    limit: int
    per_second: float
    held: float
    at: float = 0.0
    least: float = math.inf
    """The smallest number of tokens that one of our requests left."""

    def fill(self, now: float) -> None:
        self.held = min(self.limit, self.held + (now - self.at) * self.per_second)
        self.at = now

    def serve(self, now: float) -> tuple[bool, int, float]:
        """Serve a request. Return if it passed, the tokens left, and the seconds to the reset.

        The numbers are rounded as the API rounds them.
        """
        self.fill(now)
        passes = self.held >= 1
        if passes:
            self.held -= 1
            self.least = min(self.least, self.held)
        missing = max(1 - self.held % 1, 0.0) / self.per_second
        return passes, int(self.held), math.ceil(now + missing) - math.floor(now)


@dataclass(kw_only=True)
class Simulation:
    """Workers that ask, wait for the answer, and work on it for a while.

    Each worker asks the `endpoints` in turn.
    """

    tenant: Tenant
    workers: int
    share: float = 1.0
    latency_s: float = 0.12
    work_s: float = 0.06
    endpoints: tuple[str, ...] = ("logs",)
    now: float = 0.0
    worker: int = 0
    passed: int = 0
    refused: int = 0
    seed: int = 0
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _number: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)  # noqa: S311 - a simulation
        self.rate_limiter = RateLimiter(
            threading.Event(),
            share=self.share,
            monotonic=lambda: self.now,
            caller=lambda: self.worker,
        )
        for worker in range(self.workers):
            self.after(0.0, self.ask(worker, 0))

    def after(self, seconds: float, step: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + seconds, self._number, step))

    def run(self, requests: int, *, seconds: float = math.inf) -> float:
        """Run until this number of requests have passed, and return the time."""
        while self._events and self.passed < requests and self.now < seconds:
            self.now, _, step = heapq.heappop(self._events)
            step()
        return self.now

    def ask(self, worker: int, turn: int) -> Callable[[], None]:
        endpoint = self.endpoints[turn % len(self.endpoints)]

        def step() -> None:
            self.worker = worker
            wait_s = self.rate_limiter._take(endpoint)
            if wait_s > 0:
                self.after(wait_s, step)
                return
            there = self.latency_s * self.dice.random()
            self.after(there, lambda: self.arrive(worker, turn, endpoint, self.latency_s - there))

        return step

    def arrive(self, worker: int, turn: int, endpoint: str, back_s: float) -> None:
        passes, remaining, reset_s = self.tenant.serve(self.now)
        self.passed += passes
        self.refused += not passes

        def answer() -> None:
            self.worker = worker
            self.rate_limiter.observe(
                endpoint,
                limit=self.tenant.limit,
                remaining=remaining,
                reset_in=timedelta(seconds=reset_s),
                is_refused=not passes,
            )
            self.after(self.work_s, self.ask(worker, turn + 1))

        self.after(back_s, answer)


plans = st.sampled_from(
    [(2, 2.0), (10, 100 / 60), (40, 500 / 60), (10, 1000 / 60), (50, 16.0), (100, 100.0)]
)


@given(
    plan=plans,
    workers=st.integers(1, 16),
    latency_s=st.floats(0.0, 0.5),
    begun_with=st.floats(0.0, 1.0),
    share=st.sampled_from([1.0, 0.8, 0.6, 0.01]),
    endpoints=st.sampled_from([("logs",), ("logs", "users"), ("logs", "logs", "logs", "users")]),
    seed=st.integers(0, 10),
)
def test_no_request_is_refused_where_nobody_else_uses_the_tenant(
    plan: tuple[int, float],
    workers: int,
    latency_s: float,
    begun_with: float,
    share: float,
    endpoints: tuple[str, ...],
    seed: int,
) -> None:
    limit, per_second = plan
    # A whole token at least: what another used up a moment ago, no first request can know.
    held = max(1.0, begun_with * limit)
    tenant = Tenant(limit=limit, per_second=per_second, held=held)
    simulation = Simulation(
        tenant=tenant,
        workers=workers,
        latency_s=latency_s,
        share=share,
        endpoints=endpoints,
        seed=seed,
    )
    simulation.run(6 * limit + 60)
    assert simulation.passed >= 6 * limit + 60
    assert simulation.refused == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("limit", "per_second", "requests"), [(50, 16.0, 432), (10, 1000 / 60, 216), (10, 100 / 60, 40)]
)
def test_the_limiter_is_as_fast_as_the_bucket(
    limit: int, per_second: float, requests: int, seed: int
) -> None:
    tenant = Tenant(limit=limit, per_second=per_second, held=limit)
    simulation = Simulation(tenant=tenant, workers=8, seed=seed)
    took_s = simulation.run(requests)
    assert took_s <= 1.08 * (requests - limit) / per_second


@pytest.mark.parametrize("share", [0.8, 0.6])
def test_the_share_of_others_stays_in_the_bucket_at_full_speed(share: float) -> None:
    tenant = Tenant(limit=50, per_second=16.0, held=50.0)
    simulation = Simulation(tenant=tenant, workers=8, share=share)
    took_s = simulation.run(432)
    assert tenant.least >= round(50 * (1 - share))
    assert took_s <= 1.08 * (432 - 50 * share) / 16


def test_one_request_a_reset_goes_out_where_others_take_the_whole_refill() -> None:
    tenant = Tenant(limit=50, per_second=16.0, held=50.0)
    simulation = Simulation(tenant=tenant, workers=8, share=0.8)
    simulation.run(300)
    held_low = simulation.now

    def take() -> None:
        tenant.fill(simulation.now)
        tenant.held = min(tenant.held, 5.0)
        simulation.after(0.01, take)

    simulation.after(0.0, take)
    before = simulation.passed
    simulation.run(10_000, seconds=held_low + 30)
    assert simulation.passed - before <= 30 * 1.5 + 8
    assert simulation.refused == 0


def test_the_limiter_is_fast_again_after_others_have_stopped() -> None:
    tenant = Tenant(limit=50, per_second=16.0, held=50.0)
    simulation = Simulation(tenant=tenant, workers=8, share=0.8)
    simulation.run(300)
    gone_at = simulation.now + 20

    def take() -> None:
        tenant.fill(simulation.now)
        tenant.held = min(tenant.held, 5.0)
        if simulation.now < gone_at:
            simulation.after(0.01, take)

    simulation.after(0.0, take)
    simulation.run(10_000, seconds=gone_at + 5)
    before = simulation.passed
    simulation.run(10_000, seconds=gone_at + 25)
    assert simulation.passed - before >= 0.9 * 20 * 16


def test_the_limiter_slows_down_after_a_refusal_and_finds_the_speed_again() -> None:
    tenant = Tenant(limit=50, per_second=16.0, held=50.0)
    simulation = Simulation(tenant=tenant, workers=8)
    simulation.run(200)
    tenant.fill(simulation.now)
    tenant.held = 0.0  # someone took all at once
    simulation.run(400)
    assert simulation.refused <= 8
    refused, passed, since = simulation.refused, simulation.passed, simulation.now
    simulation.run(passed + 320)
    assert simulation.refused == refused
    assert simulation.now - since <= 1.1 * 320 / 16
