"""Kills of the installed command, at requests and moments that a seed chooses."""

import random
import signal
import time
from collections import Counter
from typing import Any

from tests.process.bench import Bench, Running

KILLS = 5
PAGE_MESSAGES = 200  # a page of 100 events, each an identify and a track
STEPS = {"/oauth/token": 1, "/api/v2/logs": 3, "/api/v2/users": 2, "/v1/batch": 2}
"""The paths at which a process is killed, and up to which of its requests to each path."""
Fault = dict[str, Any]


def set_faults(bench: Bench, *faults: Fault) -> None:
    bench.sandbox.ask("faults", clear=True, set=list(faults))


def kill_somewhere(bench: Bench, dice: random.Random) -> bool:
    """Run one process and kill it at a request or a moment that the seed chooses.

    Return false if the process ended before the kill.
    """
    arguments = ("run", "--once") if dice.random() < 0.5 else ("run",)
    bench.sandbox.ask("grow", count=dice.randrange(100, 400), seconds=0)
    with bench.start(*arguments) as running:
        if dice.random() < 0.7:
            kill_at_request(bench, running, dice)
        else:
            time.sleep(dice.uniform(0.05, 0.6))  # until somewhere in its work
    set_faults(bench)
    return running.process.returncode == -signal.SIGKILL


def kill_at_request(bench: Bench, running: Running, dice: random.Random) -> None:
    path = dice.choice([*STEPS])
    fault = {
        "action": dice.choice(["kill_before", "kill_after"]),
        "path": path,
        "skip": dice.randrange(STEPS[path]),
        "pid": running.process.pid,
    }
    set_faults(bench, fault)
    deadline = (
        time.monotonic() + 4
    )  # a drain that ends before its n-th request is no kill, and no harm
    while running.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def run_with_kills(bench: Bench, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    kills = 0
    while kills < KILLS:
        kills += kill_somewhere(bench, dice)
    assert bench.run("run", "--once").code == 0
    truth = bench.assert_conserved()
    arrivals = Counter(
        arrival["message_id"] for arrival in bench.sandbox.ask("messages", count=100_000)
    )
    assert sum(count - 1 for count in arrivals.values()) <= KILLS * PAGE_MESSAGES
    totals = bench.status()["streams"][0]["events"]
    assert totals["forwarded"] == truth["events"]
    assert totals["dead_lettered"] == 0
