"""Many pipelines in one process, with live traffic, faults in many of them, and kills."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from poller.adapters.sql_ledger.places import acquire_lock
from tests.process.bench import Running, eventually
from tests.process.many import Many, PipelineBench, delivers, many_benches
from tests.process.template import Template

CLOSED = "http://127.0.0.1:1"
"""An address that refuses every connection."""
LIMITED = {"service": "auth0", "path": "/api/v2/logs", "status": 429}
DOWN = {"service": "segment", "path": "/v1/batch", "status": 500}


@dataclass
class Trouble:
    """A pipeline with a fault that lasts until it is healed."""

    bench: PipelineBench
    kind: str
    stack: ExitStack = field(default_factory=ExitStack)

    def begin(self) -> None:
        match self.kind:
            case "secret":
                self.bench.write_settings(auth0__client_secret="wrong")
            case "refused":
                self.bench.write_settings(auth0__base_url=CLOSED)
            case "typo":
                self.bench.settings.write_text(self.bench.settings.read_text() + "[poll")
            case "held":
                ledger = f"sqlite:///{self.bench.ledger}"
                self.stack.enter_context(acquire_lock(ledger, "run"))
            case "down" | "limited":
                fault = DOWN if self.kind == "down" else LIMITED
                lasting = {"action": "status", "times": None, **fault}
                self.bench.sandbox.ask("faults", set=[lasting])

    def heal(self) -> None:
        self.stack.close()
        self.bench.write_settings()
        self.bench.sandbox.ask("faults", clear=True)

    def is_felt(self, log: str) -> bool:
        """Return whether the process has told of this trouble."""
        lines = [line for line in log.splitlines() if f'"pipeline": "{self.bench.name}"' in line]
        return any('"level": "warning"' in line or '"level": "error"' in line for line in lines)


KINDS = ("secret", "down", "limited", "refused", "typo", "held")


class Chaos:
    """The pipelines of a folder. Those that are not in trouble are well."""

    def __init__(self, many: Many, *, well: int, troubled: int, **settings: Any) -> None:
        self.many = many
        self.well = [many.add(f"well-{number}", **settings) for number in range(well)]
        self.troubles = [
            Trouble(many.add(f"{kind}-{number}", **settings), kind)
            for number in range(troubled)
            for kind in (KINDS[number % len(KINDS)],)
        ]

    @property
    def benches(self) -> list[PipelineBench]:
        return [*self.many.benches.values()]

    @contextmanager
    def trouble(self) -> Iterator[None]:
        """Let all troubles begin, and heal them at the end."""
        try:
            for each in self.troubles:
                each.begin()
            yield
        finally:
            for each in self.troubles:
                each.heal()

    def traffic(self, rate: float) -> None:
        for bench in self.benches:
            bench.sandbox.ask("traffic", rate=rate)

    def all_are_felt(self, running: Running) -> bool:
        log = running.err
        return all(each.is_felt(log) for each in self.troubles)

    def wait_for_news(self, benches: list[PipelineBench]) -> None:
        """Return when each of these pipelines has sent events that were not there before."""
        before = {bench.name: delivered(bench) for bench in benches}
        for bench in benches:
            eventually(
                f"news of {bench.name}", lambda bench=bench: delivered(bench) > before[bench.name]
            )


def delivered(bench: PipelineBench) -> int:
    return int(bench.sandbox.truth()["delivered"])


def kill(running: Running) -> None:
    running.signal(signal.SIGKILL)
    running.process.wait()


def run(chaos: Chaos, *, rate: float, kills: int, look: Callable[[], None] = lambda: None) -> None:
    """Let the process live through the troubles, kill it, heal all, and compare all tenants."""
    with chaos.trouble():
        chaos.traffic(rate)
        for _ in range(kills):
            with chaos.many.start() as running:
                chaos.wait_for_news(chaos.well)
                eventually("all troubles", lambda running=running: chaos.all_are_felt(running))
                chaos.wait_for_news(chaos.well)
                kill(running)
        with chaos.many.start() as running:
            eventually("all troubles", lambda: chaos.all_are_felt(running))
            look()
            kill(running)
        running = chaos.many.start()
        eventually("a start", lambda: running.says("daemon.started"))
    with running:
        running.signal(signal.SIGHUP)
        chaos.wait_for_news(chaos.benches)
        kill(running)
    with chaos.many.start() as running:
        chaos.traffic(0)
        for bench in chaos.benches:
            eventually(bench.name, lambda bench=bench: delivers(bench))
        assert running.stop().code == 0
    for bench in chaos.benches:
        bench.assert_conserved()


def test_kills_and_troubled_neighbours_lose_and_double_nothing(
    tmp_path: Path, template: Template
) -> None:
    with many_benches(tmp_path, template) as many:
        run(Chaos(many, well=2, troubled=len(KINDS)), rate=5, kills=1)


@pytest.mark.soak
def test_thirty_pipelines_stay_fresh_while_half_of_them_are_in_trouble(
    tmp_path: Path, template: Template, capsys: pytest.CaptureFixture[str]
) -> None:
    interval_s = 5.0
    with many_benches(tmp_path, template) as many:
        chaos = Chaos(many, well=15, troubled=15, poll__interval=f"{interval_s:g}s")

        def look() -> None:
            chaos.wait_for_news(chaos.well)
            begun = datetime.now().astimezone()
            time.sleep(6 * interval_s)  # the time that is measured
            ages = sorted(age for bench in chaos.well for age in ages_since(begun, bench))
            told = f"{len(ages)} events, median {ages[len(ages) // 2]:.1f} s, last {ages[-1]:.1f} s"
            with capsys.disabled():
                print(told)  # noqa: T201 - a measurement
            assert ages[-1] < 2 * interval_s

        run(chaos, rate=2, kills=5, look=look)


def ages_since(begun: datetime, bench: PipelineBench) -> list[float]:
    """Return the age at its arrival of each event that happened since this time."""
    found = []
    for arrival in bench.sandbox.ask("messages", count=100_000):
        happened = datetime.fromisoformat(arrival["message"]["timestamp"])
        if happened > begun:
            age: timedelta = datetime.fromisoformat(arrival["at"]) - happened
            found.append(age.total_seconds())
    return found
