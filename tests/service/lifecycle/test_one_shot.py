"""A drain with an end: it lasts until the work beside it has ended."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from poller.core.errors import FatalError
from poller.core.forward import Forwarded
from poller.service.lifecycle.one_shot import run_once
from poller.service.lifecycle.process import Failed, Finished, Process, Reason
from tests.fakes import LATER

End = Callable[[Reason], None]


class Journal:
    """The notes of a drain."""

    def __init__(self) -> None:
        self.errors: list[str | None] = []

    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        del at
        self.errors.append(error)

    def note_blocked(self, error: FatalError | None) -> None: ...


@dataclass
class Run:
    """A run without events, which remembers what it did."""

    beside: list[Callable[[End], None]] = field(default_factory=list)
    """The works beside the drain, in their order. After them there is no work."""
    process: Process = field(default_factory=Process)
    did: list[str] = field(default_factory=list)
    on_drain: list[Callable[[], None]] = field(default_factory=list)
    journal: Journal = field(default_factory=Journal)

    def pages(self) -> Iterator[Forwarded]:
        self.did.append("drain")
        if self.on_drain:
            self.on_drain.pop(0)()
        yield from ()

    def work(self, end: End) -> None:
        if not self.beside:
            end(Finished())
            return
        self.did.append("work")
        self.beside.pop(0)(end)

    def reason(self) -> Reason:
        return run_once(
            self.pages,
            self.journal,
            self.process,
            beside=self.work,
            interval=timedelta(milliseconds=1),
            maintain=lambda: self.did.append("maintain"),
            patience=timedelta(),
        )


def later(run: Run, drains: int, reason: Reason) -> Callable[[End], None]:
    """Return a work that ends in the drain of this number."""

    def work(end: End) -> None:
        run.on_drain = [*[lambda: None] * (drains - 1), lambda: end(reason)]

    return work


def test_without_a_backlog_the_log_is_drained_once() -> None:
    run = Run()
    assert run.reason() == Finished()
    assert run.did == ["drain", "maintain"]
    assert run.journal.errors == [None]


def test_the_log_is_drained_while_a_backlog_is_sent_and_once_more_at_its_end() -> None:
    run = Run()
    run.beside = [later(run, 3, Finished())]
    assert run.reason() == Finished()
    assert run.did == ["drain", "work", *["drain"] * 4, "maintain"]


def test_a_backlog_that_a_later_drain_finds_is_sent_too() -> None:
    run = Run()
    run.beside = [later(run, 1, Finished()), later(run, 1, Finished())]
    assert run.reason() == Finished()
    assert run.did == ["drain", *["work", "drain", "drain"] * 2, "maintain"]


def test_a_backlog_that_cannot_go_on_ends_the_run() -> None:
    run = Run()
    failed = Failed(LATER)
    run.beside = [later(run, 1, failed), later(run, 1, Finished())]
    assert run.reason() is failed
    assert run.did == ["drain", "work", "drain", "maintain"]
    assert run.journal.errors == [str(LATER)]


def test_a_live_drain_that_cannot_go_on_ends_the_run_beside_a_backlog() -> None:
    def fail() -> None:
        raise LATER

    run = Run()
    run.beside = [lambda end: run.on_drain.append(fail)]
    reason = run.reason()
    assert isinstance(reason, Failed)
    assert reason.error is LATER
    assert run.process.stopping.is_set()


def test_a_run_that_is_stopped_begins_no_work_anew() -> None:
    run = Run()

    def stop(end: End) -> None:
        run.process.stopping.set()
        end(Finished())

    run.beside = [lambda end: run.on_drain.append(lambda: stop(end)), lambda end: None]
    assert run.reason() == Finished()
    assert run.did.count("work") == 1


@pytest.mark.parametrize("reason", [Finished(), Failed(LATER)])
def test_work_that_ends_at_once_needs_no_further_drain(reason: Reason) -> None:
    run = Run()
    run.beside = [lambda end: end(reason)]
    assert run.reason() == reason
    assert run.did == ["drain", "work", "maintain"]
