"""Kills of the installed command, at requests and moments that a seed chooses."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from tests.process.bench import Bench, Running

KILLS = 5
PAGE_MESSAGES = 200  # a page of 100 events, each an identify and a track
STEPS = {"/oauth/token": 1, "/api/v2/logs": 3, "/api/v2/users": 2, "/v1/batch": 2}
"""The paths at which a process is killed, and up to which of its requests to each path."""
Fault = dict[str, Any]


def set_faults(bench: Bench, *faults: Fault) -> None:
    bench.sandbox.ask("faults", clear=True, set=list(faults))


def start_to_be_killed(bench: Bench, fault: Fault, *arguments: str) -> Running:
    """Start a command that this fault kills, and let it begin when the fault is set."""
    running = bench.start(*arguments, is_held=True)
    set_faults(bench, fault | {"pid": running.process.pid})
    running.go_on()
    return running


def kill(
    bench: Bench,
    running: Running,
    dice: random.Random,
    *,
    steps: Mapping[str, int],
    at_request: float,
    latest_s: float,
) -> None:
    """Kill a process at a request, or after a moment of its work.

    `at_request` is the probability of the first, and `latest_s` the latest moment of the second.
    """
    if dice.random() < at_request:
        _kill_at_request(bench, running, dice, steps)
    else:
        time.sleep(dice.uniform(0.02, latest_s))  # until somewhere in its work
    running.process.kill()
    running.process.wait()
    set_faults(bench)


def _kill_at_request(
    bench: Bench, running: Running, dice: random.Random, steps: Mapping[str, int]
) -> None:
    path = dice.choice([*steps])
    fault = {
        "action": dice.choice(["kill_before", "kill_after"]),
        "path": path,
        "skip": dice.randrange(steps[path]),
        "pid": running.process.pid,
    }
    set_faults(bench, fault)
    deadline = time.monotonic() + 4  # a process with fewer requests than that is killed then
    while running.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def repeat_until_killed(run: Callable[[], Running]) -> None:
    """Call a function that runs one process, until KILLS of the processes were killed.

    A process may end before its kill. That is no harm.
    """
    kills = 0
    while kills < KILLS:
        kills += run().process.returncode == -signal.SIGKILL


def run_with_kills(bench: Bench, seed: int) -> None:
    """Kill drains and daemons between new events, and assert that nothing is lost or doubled."""
    dice = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret

    def run() -> Running:
        arguments = ("run", "--once") if dice.random() < 0.5 else ("run",)
        bench.sandbox.ask("grow", count=dice.randrange(100, 400), seconds=0)
        with bench.start(*arguments) as running:
            kill(bench, running, dice, steps=STEPS, at_request=0.7, latest_s=0.6)
        return running

    repeat_until_killed(run)
    assert bench.run("run", "--once").code == 0
    truth = bench.assert_conserved()
    arrivals = Counter(
        arrival["message_id"] for arrival in bench.sandbox.ask("messages", count=100_000)
    )
    assert sum(count - 1 for count in arrivals.values()) <= KILLS * PAGE_MESSAGES
    totals = bench.status()["streams"][0]["events"]
    assert totals["forwarded"] == truth["events"]
    assert totals["dead_lettered"] == 0
