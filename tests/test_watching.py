"""The command puts the meter beside the parts that work, and only where someone is to look."""

from datetime import UTC, datetime, timedelta

from poller.cli.watching import NOBODY, Watcher
from poller.service.daemon import Daemon
from poller.service.health import Health
from poller.service.meter import Meter
from poller.service.process import Process
from poller.service.retry import Backoff


class Journal:
    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        assert at.tzinfo is UTC or error is not None

    def note_blocked(self, reason: str | None, hint: str | None) -> None:
        assert (reason is None) == (hint is None)


def test_the_loop_of_the_daemon_is_what_is_looked_at() -> None:
    seconds = 0.0
    process = Process()
    daemon = Daemon(
        lambda: iter(()),
        Journal(),
        process,
        interval=timedelta(seconds=30),
        backoff=Backoff(),
        monotonic=lambda: seconds,
    )
    meter = Meter(monotonic=lambda: seconds)
    health = Health(meter, ready_lag=timedelta(minutes=1))
    assert Watcher(meter=meter, health=health).daemon(daemon) is daemon
    assert health.not_alive() is None
    seconds = 100.0
    assert health.not_alive() == "a cycle is overdue by 100 s"
    with process.working():
        assert health.not_alive() is None
        seconds = 200.0
        assert health.not_alive() == "nothing was done for 200 s"


def test_nobody_is_no_layer_between() -> None:
    part: object = object()
    for wrap in (NOBODY.budget, NOBODY.log, NOBODY.sink, NOBODY.pages, NOBODY.journal):
        assert wrap(part) is part  # type: ignore[arg-type, comparison-overlap]  # whatever it is
