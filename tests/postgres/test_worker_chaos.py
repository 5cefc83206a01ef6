"""Workers are killed and stalled, and their server fails, while many tenants have live traffic."""

import math
import os
import random
import time
from pathlib import Path

import pytest

from tests.postgres.cluster import Cluster
from tests.postgres.fleet import Fleet, fleet, seconds_to_fresh
from tests.process.bench import eventually
from tests.process.many import PipelineBench, delivers
from tests.process.template import Template

DRAINS_WITHIN_S = 60.0
KINDS = ("kill", "stall", "restart", "cut")
SEED = "WORKER_CHAOS_SEED"
"""The variable of the environment that repeats a run."""


def run(
    chaos: Fleet, seed: int, *, workers: int, seconds: float, pauses: tuple[float, float]
) -> list[float]:
    """Let faults strike at random for a while, and compare all tenants.

    Return how long it took after each fault until each tenant had news, the shortest time first.
    The longest one is a matter of the machine, but every tenant has news in the end.
    """
    seed = int(os.environ.get(SEED, seed))
    dice = random.Random(seed)  # noqa: S311 - to be repeated
    print(f"{SEED}={seed}")  # noqa: T201 - repeats the run
    chaos.many.constants["poller.adapters.shift_queue.queue.SHIFT_S"] = 15.0
    chaos.start(workers)
    count = len(chaos.tenants)
    eventually("all owners", lambda: chaos.owned() == count)
    chaos.watch()
    for bench in chaos.tenants:
        bench.sandbox.ask("traffic", rate=1.0)
    strike(chaos, dice, time.monotonic() + seconds, pauses)
    seen = judged(chaos)
    eventually("all owners", lambda: chaos.owned() == count)
    eventually("all workers", chaos.are_at_work)
    assert chaos.stop() == [0] * workers
    return seen


def strike(chaos: Fleet, dice: random.Random, until: float, pauses: tuple[float, float]) -> None:
    """Strike by each kind of fault in turns, the kinds of each turn in a random order."""
    kinds: list[str] = []
    while time.monotonic() < until:
        kinds = kinds or dice.sample(KINDS, len(KINDS))
        chaos.strike(kinds.pop(), dice)
        print(chaos.faults[-1])  # noqa: T201 - tells what a failed run was
        time.sleep(dice.uniform(*pauses))  # the time between two faults
    for bench in chaos.tenants:
        eventually(f"news of {bench.name}", lambda bench=bench: is_fresh(chaos, bench))


def is_fresh(chaos: Fleet, bench: PipelineBench) -> bool:
    """Return whether an event has arrived that happened after the last fault."""
    return seconds_to_fresh(bench, chaos.faults[-1:]) != [math.inf]


def judged(chaos: Fleet) -> list[float]:
    """Compare each tenant's events with what arrived, and return how soon they did."""
    for bench in chaos.tenants:
        bench.sandbox.ask("traffic", rate=0)
    chaos.wake()
    for bench in chaos.tenants:
        eventually(bench.name, lambda bench=bench: delivers(bench))
    for bench in chaos.tenants:
        bench.assert_conserved()
    assert chaos.settles() > 0
    assert chaos.settles_by_two() == []
    waits = [seconds_to_fresh(bench, chaos.faults) for bench in chaos.tenants]
    for index, fault in enumerate(chaos.faults):
        found = sorted(each[index] for each in waits)
        middle, last = found[len(found) // 2], found[-1]
        print(f"{fault}: median {middle:.1f} s, last {last:.1f} s")  # noqa: T201 - as above
    return sorted(each for tenant in waits for each in tenant)


def told(waits: list[float]) -> str:
    return f"{len(waits)} waits: median {waits[len(waits) // 2]:.1f} s, longest {waits[-1]:.1f} s"


def test_one_fault_of_each_kind_costs_no_event_and_no_owner(
    cluster: Cluster, database: str, tmp_path: Path, template: Template
) -> None:
    with fleet(cluster, database, tmp_path, template, tenants=6) as chaos:
        waits = run(chaos, 7, workers=2, seconds=40, pauses=(8, 12))
    print(told(waits))  # noqa: T201 - a measurement


@pytest.mark.soak
def test_five_minutes_of_faults_cost_no_event_and_no_owner(
    cluster: Cluster,
    database: str,
    tmp_path: Path,
    template: Template,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {"poll__interval": "3s"}
    with fleet(cluster, database, tmp_path, template, tenants=30, **settings) as chaos:
        seed = random.randrange(1_000_000)  # noqa: S311 - no secret
        waits = run(chaos, seed, workers=3, seconds=300, pauses=(5, 25))
    with capsys.disabled():
        print(f"\n{told(waits)}")  # noqa: T201 - a measurement
    assert waits[-1] < DRAINS_WITHIN_S
