from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from apscheduler.job import Job
from structlog.testing import capture_logs

from poller.core.errors import FatalError, TransientError, UnusableAnswerError
from poller.core.events import LogEvent, Stream
from poller.core.forward import Forwarded
from poller.core.log_ids import EARLIEST, LogId
from poller.core.messages import Delivery
from poller.core.outcomes import Calls, Filtered
from poller.core.pages import Page
from poller.core.settlement import build_settlement
from poller.core.spans import Span
from poller.service.daemon.daemon import Daemon, NoBacklogWork
from poller.service.lifecycle.liveness import SILENCE_S, Heartbeat
from poller.service.lifecycle.process import Process
from poller.service.observability.systemd import Notifier, Supervisor
from poller.service.upstream.retry import Backoff

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
INTERVAL = timedelta(seconds=30)


def forwarded(read: int = 1) -> Forwarded:
    """A settled page of filtered events."""
    events = tuple(
        LogEvent(
            log_id=LogId(f"{index:056d}"), type="w", date=NOW - timedelta(seconds=7), record={}
        )
        for index in range(1, read + 1)
    )
    span = Span(id=1, stream=Stream(domain="d", source_name="s"), after=EARLIEST, reached=EARLIEST)
    page = Page(events=events, position=LogId("9"), is_end=True, served_at=NOW)
    return Forwarded(
        cursor=span,
        settlement=build_settlement(
            span, page, Calls(filtered=tuple(Filtered(event=event) for event in events)), Delivery()
        ),
    )


class Journal:
    def __init__(self) -> None:
        self.blocked: str | None = None
        self.errors: list[str | None] = []

    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        assert at.tzinfo is not None
        self.errors.append(error)

    def note_blocked(self, error: FatalError | None) -> None:
        self.blocked = str(error) if error else None


class Bench:
    """A daemon whose drains are scripted: each is a list of pages and errors."""

    def __init__(self, *drains: list[Forwarded | Exception]) -> None:
        self.journal = Journal()
        self.drains = iter(drains)
        self.now = 1000.0
        self.heartbeat = Heartbeat(lambda: self.now)
        self.daemon = Daemon(
            self._pages,
            self.journal,
            Process(),
            interval=INTERVAL,
            backoff=Backoff(jitter=lambda: 1.0),
            supervisor=Supervisor(Notifier(None), self.heartbeat),
            monotonic=lambda: self.now,
        )

    def run_job(self) -> None:
        """Do what the timer does when a cycle is due."""
        self.daemon._job()

    def planned(self) -> list[Job]:
        """Return the jobs that the timer holds."""
        return list({job.id: job for job in self.daemon._scheduler.get_jobs()}.values())

    def is_alive_after(self, seconds: float) -> bool:
        self.now += seconds
        try:
            return self.heartbeat.is_alive
        finally:
            self.now -= seconds

    def _pages(self) -> Iterator[Forwarded]:
        for step in next(self.drains):
            if isinstance(step, Exception):
                raise step
            yield step


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    structlog.reset_defaults()
    with capture_logs() as captured:
        yield captured


def events_of(logs: list[dict[str, object]]) -> list[tuple[object, object]]:
    return [(line["log_level"], line["event"]) for line in logs]


def test_a_cycle_that_did_something_is_one_line_with_its_counts(
    logs: list[dict[str, object]],
) -> None:
    bench = Bench([forwarded(3), forwarded(2)])
    assert bench.daemon.cycle() == INTERVAL
    assert events_of(logs) == [("info", "cycle.finished")]
    expected = {
        "pages": 2,
        "read": 5,
        "filtered": 5,
        "forwarded": 0,
        "dead_lettered": 0,
        "lag_s": 7.0,
    }
    assert expected.items() <= logs[0].items()


def test_an_idle_cycle_is_a_debug_line(logs: list[dict[str, object]]) -> None:
    Bench([forwarded(0)]).daemon.cycle()
    assert events_of(logs) == [("debug", "cycle.finished")]


def test_trouble_that_may_pass_is_one_warning_a_cycle_and_delays_grow(
    logs: list[dict[str, object]],
) -> None:
    error = TransientError("https://x: Connection refused")
    bench = Bench([error], [error], [error], [forwarded()], [error])
    delays = [bench.daemon.cycle().total_seconds() for _ in range(5)]
    assert delays == [1, 2, 4, 30, 1]
    warnings = [line for line in logs if line["log_level"] == "warning"]
    assert [line["event"] for line in warnings] == ["cycle.postponed"] * 4
    assert bench.journal.errors == [str(error)] * 3 + [None, str(error)]


def test_a_fatal_error_before_any_progress_ends_the_process() -> None:
    error = FatalError("Segment answered 401", code="segment-request-refused", hint="check the key")
    with pytest.raises(FatalError):
        Bench([error]).daemon.cycle()


@pytest.mark.parametrize("transients_first", [0, 2])
def test_transient_trouble_is_no_progress(transients_first: int) -> None:
    drains: list[list[Forwarded | Exception]] = [[TransientError("later")]] * transients_first
    bench = Bench(*drains, [FatalError("never", code="log-empty", hint="act")])
    for _ in range(transients_first):
        bench.daemon.cycle()
    with pytest.raises(FatalError):
        bench.daemon.cycle()


def test_a_fatal_error_after_progress_blocks_says_so_once_and_recovers_by_itself(
    logs: list[dict[str, object]],
) -> None:
    error = FatalError("Segment answered 401", code="segment-request-refused", hint="check the key")
    bench = Bench([forwarded()], [error], [error], [forwarded()])
    assert bench.daemon.cycle() == INTERVAL
    assert bench.daemon.cycle() == INTERVAL
    assert bench.journal.blocked == "Segment answered 401"
    assert bench.daemon.cycle() == INTERVAL
    assert bench.daemon.cycle() == INTERVAL
    assert bench.journal.blocked is None
    told = [
        line["event"] for line in logs if line["event"] in {"daemon.blocked", "daemon.recovered"}
    ]
    assert told == ["daemon.blocked", "daemon.recovered"]


def test_a_blocked_daemon_looks_again_ever_more_rarely_up_to_a_minute() -> None:
    bench = Bench([forwarded()], *[[FatalError("never", code="log-empty", hint="act")]] * 10)
    delays = [bench.daemon.cycle() for _ in range(11)]
    assert delays[-1] == timedelta(minutes=1)
    assert delays == sorted(delays)
    assert min(delays) == INTERVAL


@pytest.mark.parametrize("pages_first", [0, 1])
def test_the_third_unusable_answer_blocks_says_so_once_and_never_ends_the_process(
    pages_first: int, logs: list[dict[str, object]]
) -> None:
    error = UnusableAnswerError("Auth0 answered nonsense")
    drains: list[list[Forwarded | Exception]] = [[forwarded()]] * pages_first
    bench = Bench(*drains, *[[error]] * 5, [forwarded()], [error])
    for _ in range(pages_first):
        bench.daemon.cycle()
    said = []
    for _ in range(5):
        bench.daemon.cycle()
        said.append(bench.journal.blocked)
    blocked = "Auth0 answered nonsense, three times in a row"
    assert said == [None, None, blocked, blocked, blocked]
    bench.daemon.cycle()
    assert bench.journal.blocked is None
    bench.daemon.cycle()
    assert bench.journal.blocked is None
    told = [
        line["event"] for line in logs if line["event"] in {"daemon.blocked", "daemon.recovered"}
    ]
    assert told == ["daemon.blocked", "daemon.recovered"]


def test_a_page_that_is_settled_between_two_unusable_answers_begins_their_count_anew() -> None:
    bench = Bench(*[[forwarded(), UnusableAnswerError("Auth0 answered nonsense")]] * 10)
    for _ in range(10):
        bench.daemon.cycle()
    assert bench.journal.blocked is None


def test_passing_trouble_of_both_services_costs_what_each_asks_for() -> None:
    auth0 = TransientError("later", retry_after=timedelta(seconds=1), service="Auth0")
    segment = TransientError("later", retry_after=timedelta(seconds=1), service="Segment")
    bench = Bench([auth0], [segment], [auth0], [segment], [auth0], [segment])
    assert sum((bench.daemon.cycle() for _ in range(6)), timedelta()) < timedelta(seconds=7)


def test_a_journal_that_cannot_be_written_stops_nothing() -> None:
    bench = Bench([forwarded()], [forwarded()])

    def fail(**_: object) -> None:
        raise TransientError("disk full")

    broken: Callable[..., None] = fail
    bench.journal.note_cycle = broken  # type: ignore[method-assign]  # the fault itself
    assert bench.daemon.cycle() == INTERVAL


def test_an_outage_of_hours_is_waited_out_without_spinning_and_without_giving_up(
    logs: list[dict[str, object]],
) -> None:
    bench = Bench([forwarded()], *[[TransientError("down")]] * 600, [forwarded()])
    delays = [bench.daemon.cycle() for _ in range(602)]
    waited = sum(delays[1:601], timedelta())
    assert waited > timedelta(hours=9)
    assert max(delays) <= timedelta(minutes=1)
    assert min(delays[7:601]) >= INTERVAL
    assert bench.journal.errors[-2:] == ["down", None]
    assert sum(line["event"] == "cycle.postponed" for line in logs) == 600


def test_between_two_cycles_the_pulse_waits_for_the_next_one() -> None:
    bench = Bench([forwarded()])
    bench.run_job()
    wait = INTERVAL.total_seconds() + SILENCE_S
    assert bench.is_alive_after(wait)
    assert not bench.is_alive_after(wait + 1.0)


def test_a_service_that_asks_for_an_hour_does_not_look_like_a_loop_that_hangs() -> None:
    bench = Bench([TransientError("later", retry_after=timedelta(hours=1))])
    bench.run_job()
    assert bench.is_alive_after(600 + SILENCE_S)
    assert not bench.is_alive_after(601 + SILENCE_S + 1.0)


def test_a_blocked_daemon_that_looks_again_is_alive() -> None:
    bench = Bench([forwarded()], *[[FatalError("never", code="log-empty", hint="act")]] * 10)
    for _ in range(11):
        bench.run_job()
        assert bench.is_alive_after(INTERVAL.total_seconds() + SILENCE_S)
        bench.now += 61.0


def test_each_page_of_a_long_cycle_is_a_beat_and_one_that_never_comes_is_none() -> None:
    bench = Bench()
    alive = []

    def pages() -> Iterator[Forwarded]:
        for _ in range(50):
            bench.now += SILENCE_S - 1.0
            alive.append(bench.heartbeat.is_alive)
            yield forwarded()
        bench.now += SILENCE_S + 1.0
        alive.append(bench.heartbeat.is_alive)

    bench.daemon._pages = pages
    bench.run_job()
    assert alive == [True] * 50 + [False]


def runs_missed(job: Job, until: datetime) -> list[datetime]:
    """Return the runs that APScheduler computes once the clock says `until`."""
    job.next_run_time = job.trigger.get_next_fire_time(None, until)
    return list(job._get_run_times(until))


def test_a_clock_set_right_by_years_has_one_cycle_to_run() -> None:
    bench = Bench([forwarded()])
    bench.run_job()
    (job,) = bench.planned()
    now = datetime.now(UTC)
    assert runs_missed(job, now + INTERVAL / 2) == []
    assert len(runs_missed(job, now + timedelta(days=365 * 50))) == 1


def test_a_cycle_that_comes_too_early_is_planned_again() -> None:
    bench = Bench([forwarded()], [forwarded()])
    bench.run_job()
    bench.now += 10.0
    bench.run_job()  # the wall clock was set forward
    (job,) = bench.planned()
    assert len(bench.journal.errors) == 1
    assert runs_missed(job, datetime.now(UTC) + timedelta(seconds=19)) == []
    assert len(runs_missed(job, datetime.now(UTC) + timedelta(seconds=21))) == 1
    bench.now += 20.0
    bench.run_job()
    assert len(bench.journal.errors) == 2


def test_a_cycle_that_is_overdue_by_the_monotonic_clock_is_planned_for_now() -> None:
    bench = Bench([forwarded()])
    bench.run_job()
    bench.now += INTERVAL.total_seconds() + 3.0  # the wall clock was set back
    bench.daemon._tick()
    (job,) = bench.planned()
    assert len(runs_missed(job, datetime.now(UTC))) == 1


class Backlog(NoBacklogWork):
    """Work on a backlog that notes what it is told."""

    def __init__(self) -> None:
        self.blocked: FatalError | None = None  # type: ignore[assignment] # a fixed value there
        self.told: list[str] = []

    def look_for_work(self) -> None:
        self.told.append("look")

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")


def test_a_backlog_that_is_blocked_blocks_the_daemon_until_the_backlog_goes_on() -> None:
    bench = Bench([forwarded()], [forwarded()], [forwarded()])
    backlog = bench.daemon._backlog = Backlog()
    backlog.blocked = FatalError("Segment answered 401", code="segment-request-refused", hint="act")
    bench.daemon.cycle()
    assert bench.journal.blocked == "Segment answered 401"
    assert backlog.told == ["look", "resume"]
    backlog.blocked = None
    bench.daemon.cycle()
    assert bench.journal.blocked is None


def test_a_live_loop_that_is_blocked_pauses_the_backlog_until_a_cycle_succeeds() -> None:
    error = FatalError("never", code="log-empty", hint="act")
    bench = Bench([forwarded()], [error], [TransientError("later")], [forwarded()])
    backlog = bench.daemon._backlog = Backlog()
    for _ in range(4):
        bench.daemon.cycle()
    assert backlog.told == ["look", "resume", "look", "pause", "look", "look", "resume"]


def test_slices_at_work_do_not_keep_an_overdue_cycle_from_starting() -> None:
    bench = Bench([forwarded()])
    bench.run_job()
    bench.now += INTERVAL.total_seconds() + 3.0
    with bench.daemon._process.working():
        bench.daemon._tick()
    (job,) = bench.planned()
    assert len(runs_missed(job, datetime.now(UTC))) == 1
