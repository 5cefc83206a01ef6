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
from tests.simulation import Tenant


@dataclass(kw_only=True)
class Simulation:
    """Workers that ask, wait for the answer, and work on it for a while.

    Each worker asks the `endpoints` in turn. The first `live` workers poll: they ask for each
    endpoint once, and then rest for `interval_s`. All others work in the background, if any polls.
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
    live: int = 0
    interval_s: float = 2.0
    live_waits: list[float] = field(default_factory=list)
    """The time that each live request waited before it went out."""
    live_polls: int = 0
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
        asked_at = self.now

        def step() -> None:
            self.worker = worker
            in_background = worker >= self.live > 0
            wait_s = self.rate_limiter._take(endpoint, in_background=in_background)
            if wait_s > 0:
                self.after(wait_s, step)
                return
            if worker < self.live:
                self.live_waits.append(self.now - asked_at)
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
            self.after(self.work_s, lambda: self.go_on(worker, turn + 1))

        self.after(back_s, answer)

    def go_on(self, worker: int, turn: int) -> None:
        """Ask again, after a rest at the end of a live poll. The wait counts from then on."""

        def ask() -> None:
            self.ask(worker, turn)()

        is_over = worker < self.live and turn % len(self.endpoints) == 0
        self.live_polls += is_over
        self.after(self.interval_s if is_over else 0.0, ask)


plans = st.sampled_from(
    [(2, 2.0), (10, 100 / 60), (40, 500 / 60), (10, 1000 / 60), (50, 16.0), (100, 100.0)]
)


@given(
    plan=plans,
    crew=st.tuples(st.integers(1, 16), st.integers(0, 2)),
    latency_s=st.floats(0.0, 0.5),
    begun_with=st.floats(0.0, 1.0),
    share=st.sampled_from([1.0, 0.8, 0.6, 0.01]),
    endpoints=st.sampled_from([("logs",), ("logs", "users"), ("logs", "logs", "logs", "users")]),
    seed=st.integers(0, 10),
)
def test_no_request_is_refused_where_nobody_else_uses_the_tenant(
    plan: tuple[int, float],
    crew: tuple[int, int],
    latency_s: float,
    begun_with: float,
    share: float,
    endpoints: tuple[str, ...],
    seed: int,
) -> None:
    (limit, per_second), (workers, live) = plan, crew
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
        live=min(live, workers),
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


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("limit", "per_second"), [(50, 16.0), (10, 1000 / 60)])
def test_a_live_poll_does_not_wait_for_the_backlog_and_costs_it_only_its_own_requests(
    limit: int, per_second: float, seed: int
) -> None:
    tenant = Tenant(limit=limit, per_second=per_second, held=limit)
    simulation = Simulation(
        tenant=tenant, workers=9, live=1, endpoints=("logs", "users"), seed=seed
    )
    requests = limit + round(30 * per_second)
    took_s = simulation.run(requests)
    assert len(simulation.live_waits) >= 20
    assert max(simulation.live_waits) == 0
    assert took_s <= 1.1 * (requests - limit) / per_second


def test_the_backlog_has_the_whole_limit_while_live_polling_rests() -> None:
    tenant = Tenant(limit=50, per_second=16.0, held=50.0)
    simulation = Simulation(tenant=tenant, workers=9, live=1, interval_s=1e9)
    took_s = simulation.run(432)
    assert simulation.live_polls == 1
    assert took_s <= 1.08 * (432 - 50) / 16


@pytest.mark.parametrize(("limit", "per_second"), [(2, 2.0), (10, 100 / 60)])
def test_in_a_small_bucket_neither_starves(limit: int, per_second: float) -> None:
    tenant = Tenant(limit=limit, per_second=per_second, held=limit)
    simulation = Simulation(tenant=tenant, workers=5, live=1, share=0.8, interval_s=10.0)
    simulation.run(120)
    in_background = simulation.passed - len(simulation.live_waits)
    assert in_background > 60
    assert max(simulation.live_waits) <= 2 / per_second + 1.0  # reset times are whole seconds
    assert simulation.refused == 0


def test_live_polling_that_needs_every_token_has_every_token() -> None:
    tenant = Tenant(limit=10, per_second=5.0, held=10.0)
    simulation = Simulation(tenant=tenant, workers=8, live=4, interval_s=0.0)
    simulation.run(40)
    asked_live = len(simulation.live_waits)
    simulation.run(140)
    assert len(simulation.live_waits) - asked_live >= 95


def test_the_backlog_goes_on_where_others_take_the_whole_refill() -> None:
    tenant = Tenant(limit=50, per_second=16.0, held=50.0)
    simulation = Simulation(tenant=tenant, workers=5, live=1, share=0.8)
    simulation.run(300)

    def take() -> None:
        tenant.fill(simulation.now)
        tenant.held = min(tenant.held, 5.0)
        simulation.after(0.01, take)

    simulation.after(0.0, take)
    begun_at, passed, live = simulation.now, simulation.passed, len(simulation.live_waits)
    simulation.run(10_000, seconds=begun_at + 60)
    polls = len(simulation.live_waits) - live
    assert polls >= 15
    assert simulation.passed - passed - polls >= 15
    assert simulation.refused == 0
