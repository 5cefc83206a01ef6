"""The wired daemon sends a backlog beside live polling through the faults of both services."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from structlog.testing import capture_logs

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.set_position import set_position
from poller.cli.wiring.catch_up import begin_backlog_job, connect_background, identified_since
from poller.cli.wiring.daemon import build_daemon, open_ledger
from poller.cli.wiring.services import Services, connect, stream_of
from poller.core.errors import FatalError, TransientError
from poller.core.log_ids import floor_id, moment_of
from poller.core.spans import Span
from poller.sandbox import Fault, Sandbox
from poller.service.daemon import catch_up
from poller.service.daemon.backlog_threads import BacklogThreads
from poller.service.daemon.first_start import START_MARGIN
from poller.service.lifecycle.liveness import Heartbeat, StopEvent
from poller.service.lifecycle.process import Failed, Finished, Process, Reason
from poller.service.observability.instrumented import NO_OBSERVER
from poller.service.observability.systemd import Notifier, Supervisor
from poller.service.slices import deferred_identify, queue
from poller.service.upstream.retry import Backoff
from tests.cli.segment_proof.world import World

HOUR = timedelta(hours=1)
PATIENCE_S = 120.0
"""The longest wait for an event that must come. It suits a machine that is very slow."""


@dataclass
class Running:
    """The parts of a daemon that runs on the sandbox. The test starts each of its cycles."""

    world: World
    changes: dict[str, Any]
    stack: ExitStack = field(default_factory=ExitStack)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)

    def __enter__(self) -> Self:
        self.process = Process()
        self.settings = self.world.settings(poll__start="earliest", **self.changes)
        self.ledger: SqlLedger = self.stack.enter_context(open_ledger(self.settings, self.process))
        stopping = StopEvent(self.process.stopping, self.heartbeat)
        self.services: Services = self.stack.enter_context(
            connect(self.settings, stopping, on_step=self.heartbeat.beat)
        )
        self.background: Services = self.stack.enter_context(
            connect_background(self.settings, self.services, self.process.stopping, NO_OBSERVER)
        )
        self.daemon = build_daemon(
            self.settings,
            self.services,
            self.background,
            self.ledger,
            self.process,
            observer=NO_OBSERVER,
            supervisor=Supervisor(Notifier(None), self.heartbeat),
            threads=BacklogThreads(),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stopping.set()
        assert self.process.settle_down(PATIENCE_S)
        self.stack.close()

    def cycle(self) -> None:
        self.daemon.cycle()

    def cycle_until_sent(self) -> None:
        """Cycle until all is delivered and no backlog is left."""
        self.cycle_until(lambda: self.is_caught_up() and not self.world.sandbox.reconcile().lost)

    def cycle_until(self, holds: Callable[[], object]) -> None:
        for _ in range(int(PATIENCE_S / 0.05)):
            self.cycle()
            if holds():
                return
            threading.Event().wait(0.05)
        raise AssertionError("it never came so far")

    def is_caught_up(self) -> bool:
        return not self.slices() and self.ledger.catch_up_since() is None

    def slices(self) -> tuple[Span, ...]:
        return self.ledger.backlog()


@dataclass
class Outage:
    """A tenant whose log was read up to six hours ago."""

    world: World

    @property
    def sandbox(self) -> Sandbox:
        return self.world.sandbox

    def running(self, **changes: Any) -> Running:
        return Running(self.world, changes)

    def fall_behind(self, count: int = 400, *, hours: float = 6) -> None:
        self.sandbox.clock.advance(hours * HOUR)
        now = self.sandbox.clock.now()
        self.grow(count, start=now - 0.9 * hours * HOUR, end=now - 0.1 * hours * HOUR)
        self.grow(10, start=now, end=now)

    def grow(self, count: int, **bounds: Any) -> None:
        self.sandbox.traffic.grow(count, **bounds)

    def fail(self, *faults: Fault) -> None:
        self.sandbox.faults.set(*faults)

    def assert_conserved(self) -> None:
        truth = self.sandbox.reconcile()
        found = (truth.lost, truth.duplicated, truth.unexpected, truth.altered, truth.misordered)
        assert found == ((),) * 5


@pytest.fixture
def outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    monkeypatch.setattr(catch_up, "DRAIN_S", 0.0)
    delays: Any = Backoff.__init__.__kwdefaults__
    monkeypatch.setitem(delays, "first", timedelta(seconds=0.1))
    with Sandbox(seed=1, plan="unlimited") as sandbox:
        made = Outage(World(sandbox, tmp_path))
        now = sandbox.clock.now()
        made.grow(20, start=now - HOUR, end=now)
        with made.running() as before:
            before.cycle_until_sent()
        made.fall_behind()
        yield made


def begin(outage: Outage) -> None:
    """Begin a catch-up of which nothing is sent yet, as a daemon does that is killed then."""
    now = outage.sandbox.clock.now()
    with outage.running() as running:
        found = running.ledger.live_span()
        assert found is not None
        live = running.ledger.begin_work(found)
        assert live is not None
        after = moment_of(live.reached)
        assert after is not None
        ends = [floor_id(after + (now - after) * part / 3) for part in (1, 2)]
        running.ledger.begin_catch_up(live, present=floor_id(now - START_MARGIN), ends=ends)
        running.ledger.note_catch_up(since=now, error=None)


PASSING: dict[str, dict[str, Any]] = {
    "Auth0 refuses requests by its rate limit": {
        "action": "status",
        "path": "/api/v2/logs",
        "status": 429,
        "skip": 3,
    },
    "Segment is down": {"action": "status", "path": "/v1/batch", "status": 503, "skip": 2},
    "an answer of Segment is lost": {"action": "drop_answer", "path": "/v1/batch", "skip": 2},
    "an answer of Auth0 is lost": {"action": "truncate", "path": "/api/v2/logs", "skip": 4},
}
POSTPONED = {"catch_up.postponed", "cycle.postponed"}


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_postpones_and_loses_nothing(outage: Outage, name: str) -> None:
    """The fault passes once it has postponed something.

    A single fault may meet a page that was read ahead, and is thrown away when its walk ends.
    """
    fault = Fault(**PASSING[name], times=None)
    outage.fail(fault)
    with capture_logs() as lines, outage.running() as running:
        running.cycle_until(lambda: POSTPONED & {line["event"] for line in lines})
        fault.times = 0
        running.cycle_until_sent()
    events = {line["event"] for line in lines}
    assert {"catch_up.began", "catch_up.finished"} <= events
    assert "daemon.blocked" not in events
    outage.assert_conserved()


def test_a_backlog_that_cannot_be_read_keeps_no_new_event_waiting(
    outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(outage)
    with outage.running() as running, monkeypatch.context() as patch:
        patch.setattr(queue.SliceQueue, "pages", fail)
        live = running.ledger.live_span()
        assert live is not None
        now = outage.sandbox.clock.now()
        outage.grow(10, start=now, end=now)
        running.cycle()
        new = outage.sandbox.reconcile(above=live.after)
        assert running.slices()
    assert new.expected
    assert new.lost == ()


def fail(*_: object, **__: object) -> None:
    raise TransientError("not now")


FORBIDDEN = '{"statusCode": 403, "message": "Insufficient scope, expected any of: read:logs"}'


def test_blocked_is_blocked_for_both_and_both_recover(outage: Outage) -> None:
    refusal = Fault(action="status", path="/api/v2/logs", status=403, body=FORBIDDEN, times=None)
    with capture_logs() as lines, outage.running() as running:
        running.cycle()
        outage.fail(refusal)
        running.cycle()
        asked = len(outage.sandbox.faults.seen("auth0", "/api/v2/logs"))
        assert [line["event"] for line in lines].count("daemon.blocked") == 1
        refusal.times = 0
        running.cycle_until_sent()
    assert asked > 0
    assert [line["event"] for line in lines].count("daemon.recovered") == 1
    outage.assert_conserved()


def test_slices_that_are_left_are_sent_even_if_the_daemon_never_catches_up(
    outage: Outage,
) -> None:
    begin(outage)
    outage.fall_behind(200, hours=1)
    with capture_logs() as lines, outage.running(poll__catch_up="off") as running:
        running.cycle_until_sent()
    assert "catch_up.began" not in {line["event"] for line in lines}
    outage.assert_conserved()


def test_outages_in_the_middle_of_a_catch_up_add_to_it(outage: Outage) -> None:
    for _ in range(2):
        begin(outage)
        outage.fall_behind(200, hours=2)
    with outage.running() as running:
        running.cycle_until_sent()
        assert len(running.ledger.spans()) == 1
    outage.assert_conserved()


def test_a_slice_below_retention_is_a_gap_and_the_rest_is_sent(outage: Outage) -> None:
    begin(outage)
    outage.sandbox.tenant.retention = 25 * HOUR
    outage.sandbox.clock.advance(22 * HOUR)
    with outage.running() as running:
        running.cycle_until(running.is_caught_up)
        gaps = running.ledger.gaps()
    lost = outage.sandbox.reconcile().lost
    assert lost
    assert gaps
    assert all(any(gap.after < log_id < gap.before for gap in gaps) for log_id in lost)


def test_late_events_inside_the_slices_are_sent_by_the_second_reading(outage: Outage) -> None:
    with outage.running() as running:
        running.cycle_until_sent()
        end = moment_of(running.ledger.unread_stretches()[-1].until or "")
        assert end is not None
        outage.sandbox.traffic.happen("login", at=end - timedelta(minutes=2))
        assert outage.sandbox.reconcile().lost
    outage.sandbox.clock.advance(timedelta(minutes=11))
    with outage.running() as running:
        running.cycle_until_sent()
    outage.assert_conserved()


def test_a_position_that_is_moved_back_after_a_catch_up_doubles_nothing(outage: Outage) -> None:
    with outage.running() as running:
        running.cycle_until_sent()
        settings = running.settings
        middle = running.ledger.spans()[0].after
    set_position(settings.state.url, stream_of(settings), middle)
    with outage.running() as running:
        running.cycle_until_sent()
        assert len(running.ledger.spans()) == 1
    truth = outage.sandbox.reconcile()
    # A profile has changed since, so a track may come again with other content under its id.
    assert (truth.lost, truth.duplicated, truth.unexpected) == ((), (), ())


# The job of `run --once`


def job(running: Running) -> Reason:
    """Work on the backlog as a job, and return how it ended."""
    ended = threading.Event()
    reasons: list[Reason] = []

    def end(reason: Reason) -> None:
        reasons.append(reason)
        ended.set()

    begin_backlog_job(running.settings, running.background, running.ledger, running.process, end)
    assert ended.wait(PATIENCE_S)
    return reasons[0]


def test_a_job_sends_the_backlog_to_its_end(outage: Outage) -> None:
    begin(outage)
    with outage.running() as running:
        assert job(running) == Finished()
        assert running.is_caught_up()
        assert job(running) == Finished()
        running.cycle_until_sent()
    outage.assert_conserved()


def test_a_job_fails_whose_end_the_ledger_cannot_record(
    outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(outage)

    with outage.running() as running, monkeypatch.context() as patch:
        patch.setattr(SqlLedger, "note_catch_up", fail)
        reason = job(running)
    assert isinstance(reason, Failed)
    assert str(reason.error) == "not now"


def test_a_job_fails_if_no_answer_proves_the_end_of_a_slice(
    outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(outage)
    with outage.running() as running, monkeypatch.context() as patch:
        patch.setattr(queue.SliceQueue, "pages", lambda *_: iter(()))
        reason = job(running)
        assert running.slices()
        assert running.ledger.catch_up_since() is not None
    assert isinstance(reason, Failed)
    assert isinstance(reason.error, TransientError)
    assert not isinstance(reason.error, FatalError)


# The clock


def test_before_the_first_answer_no_identify_that_was_sent_is_new_enough(outage: Outage) -> None:
    """The clock of the sandbox is hours ahead of the host's."""
    with outage.running() as running:
        early = identified_since(running.background)
        running.cycle_until_sent()
        late = identified_since(running.background)
    now = outage.sandbox.clock.now()
    assert early > now
    assert abs(late - now) < timedelta(minutes=1)


def test_after_a_restart_the_services_date_the_profiles_of_a_backlog(
    outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the sandbox is hours ahead of the host's."""
    begin(outage)
    with monkeypatch.context() as patch, outage.running() as running:
        patch.setattr(deferred_identify.IdentifyRunner, "work", fail)
        running.cycle_until(lambda: running.ledger.catch_up_since() and not running.slices())
    known = len(outage.sandbox.collector.published("identify"))
    now = outage.sandbox.clock.now()
    outage.grow(1, start=now, end=now)
    # A backlog that did not wait for the first poll would read its profiles meanwhile.
    outage.fail(Fault(action="hang", path="/api/v2/logs", seconds=0.5))
    with outage.running() as running:
        running.cycle_until_sent()
    dates = [each.timestamp for each in outage.sandbox.collector.published("identify")[known:]]
    assert len(dates) > 20
    assert datetime.fromisoformat(min(dates)) >= now - timedelta(minutes=1)


# The watchdog


def test_work_in_the_background_tells_the_watchdog_nothing(outage: Outage) -> None:
    beats: set[str] = set()

    def note() -> int:
        beats.add(threading.current_thread().name)
        return threading.get_ident()

    with Running(outage.world, {}, heartbeat=Heartbeat(caller=note)) as running:
        running.cycle_until_sent()
    assert beats
    assert "backlog" not in beats
