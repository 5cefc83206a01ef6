from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog
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
from poller.service.daemon.daemon import PROGRESS_INTERVAL_S, Daemon, NoBacklogWork
from poller.service.lifecycle.backlog import NO_BACKLOG, Backlog
from poller.service.lifecycle.liveness import SILENCE_S, Heartbeat
from poller.service.lifecycle.process import Work
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

    def __init__(self, *drains: list[Forwarded | Exception], never_ends: bool = False) -> None:
        self.journal = Journal()
        self.drains = iter(drains)
        self.now = 1000.0
        self.heartbeat = Heartbeat(lambda: self.now)
        self.daemon = Daemon(
            self._pages,
            self.journal,
            Work(),
            interval=INTERVAL,
            backoff=Backoff(jitter=lambda: 1.0),
            supervisor=Supervisor(Notifier(None), self.heartbeat),
            never_ends=never_ends,
            monotonic=lambda: self.now,
        )

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
        "newest_age_s": 7.0,
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
    bench.heartbeat.beat()
    bench.daemon.step()
    assert alive == [True] * 50 + [False]


def test_a_daemon_that_never_ends_is_blocked_by_a_fatal_error_before_any_progress() -> None:
    error = FatalError("Auth0 answered 401", code="auth0-access-denied", hint="check the secret")
    bench = Bench([error], [forwarded()], never_ends=True)
    assert bench.daemon.step() == INTERVAL
    assert bench.journal.blocked == "Auth0 answered 401"
    bench.daemon.step()
    assert bench.journal.blocked is None


class NotedBacklog(NoBacklogWork):
    """Work on a backlog that notes what it is told."""

    def __init__(self, state: Backlog = NO_BACKLOG) -> None:
        self.state = state
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
    backlog = bench.daemon._backlog = NotedBacklog()
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
    backlog = bench.daemon._backlog = NotedBacklog()
    for _ in range(4):
        bench.daemon.cycle()
    assert backlog.told == ["look", "resume", "pause", "look", "resume"]


def test_a_backlog_goes_on_only_after_the_first_drain_has_proved_the_clocks() -> None:
    bench = Bench()
    backlog = bench.daemon._backlog = NotedBacklog()
    drains = iter([TransientError("Auth0 does not answer"), None, None])

    def pages() -> Iterator[Forwarded]:
        backlog.told.append("drain")
        error = next(drains)
        if error is not None:
            raise error
        yield forwarded()

    bench.daemon._pages = pages
    for _ in range(3):
        bench.daemon.cycle()
    assert backlog.told == ["drain", *["drain", "look", "resume"] * 2]


class Statuses(Notifier):
    """A notifier that keeps what it would send."""

    def __init__(self) -> None:
        super().__init__(None)
        self.sent: list[str] = []

    def send(self, **fields: object) -> None:
        self.sent.append(str(fields.get("STATUS")))


def test_systemd_is_told_of_the_backlog_while_a_cycle_lasts_and_at_its_end() -> None:
    bench, told = Bench(), Statuses()
    bench.daemon._supervisor = Supervisor(told, bench.heartbeat)
    bench.daemon._backlog = NotedBacklog(Backlog(since=NOW, time_left=timedelta(hours=3)))

    def pages() -> Iterator[Forwarded]:
        bench.now += PROGRESS_INTERVAL_S
        yield forwarded()

    bench.daemon._pages = pages
    bench.daemon.cycle()
    during, end = told.sent
    left = "; catching up since 2026-11-23 10:00 UTC: 3.0 h of the log left"
    assert during.endswith(f"so far{left}")
    assert end.endswith(left)
