"""The delays after failures, and when a step is given up."""

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from poller.core.errors import FatalError, TransientError, UnknownHostError, UnusableAnswerError
from poller.service.upstream.retry import LONG_PATIENCE, PATIENCE, Backoff, retrying


def test_delays_double_up_to_the_most_and_jitter_only_shortens_them() -> None:
    longest = Backoff(jitter=lambda: 1.0)
    shortest = Backoff(jitter=lambda: 0.0)
    error = TransientError("later")
    assert [longest.delay_after(error).total_seconds() for _ in range(8)] == [
        1,
        2,
        4,
        8,
        16,
        32,
        60,
        60,
    ]
    assert [shortest.delay_after(error).total_seconds() for _ in range(8)] == [
        0.5,
        1,
        2,
        4,
        8,
        16,
        30,
        30,
    ]


def test_a_success_starts_the_delays_anew() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    for _ in range(100):
        backoff.delay_after(TransientError("later"))
    backoff.reset()
    assert backoff.delay_after(TransientError("later")) == timedelta(seconds=1)


@pytest.mark.parametrize("asked_s", [0, 5, 600])
def test_a_delay_is_never_shorter_than_the_server_asked_for(asked_s: int) -> None:
    delay = Backoff(jitter=lambda: 0.0).delay_after(
        TransientError("later", retry_after=timedelta(seconds=asked_s))
    )
    assert delay >= timedelta(seconds=asked_s)
    assert delay > timedelta(0)


@pytest.mark.parametrize(
    ("asked_s", "least_s", "most_s"),
    [(0, 0.5, 0.55), (0.1, 0.5, 0.55), (1, 1, 1.1), (600, 600, 600), (86400, 600, 600)],
)
def test_the_delay_that_a_server_asks_for_is_moved_into_the_bounds(
    asked_s: float, least_s: float, most_s: float
) -> None:
    for jitter in (0.0, 1.0):
        backoff = Backoff(jitter=lambda jitter=jitter: jitter)  # type: ignore[misc]
        for _ in range(10):
            backoff.delay_after(TransientError("later"))
        delay_s = backoff.delay_after(
            TransientError("later", retry_after=timedelta(seconds=asked_s))
        ).total_seconds()
        assert least_s <= delay_s <= most_s + 1e-6


def test_a_failure_that_asks_for_a_delay_makes_no_later_delay_longer() -> None:
    backoff = Backoff(jitter=lambda: 0.0)
    asked = TransientError("later", retry_after=timedelta(seconds=1), service="Segment")
    assert sum((backoff.delay_after(asked) for _ in range(6)), timedelta()) == timedelta(seconds=6)
    assert backoff.delay_after(TransientError("later", service="Segment")) == timedelta(seconds=0.5)


def test_each_service_has_its_own_count_of_failures() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    auth0, segment = (
        TransientError("later", service="Auth0"),
        TransientError("later", service="Segment"),
    )
    delays = [
        backoff.delay_after(error).total_seconds()
        for error in (auth0, auth0, auth0, segment, segment, auth0)
    ]
    assert delays == [1, 2, 4, 1, 2, 8]
    backoff.reset()
    assert [backoff.delay_after(error).total_seconds() for error in (auth0, segment)] == [1, 1]


def test_the_third_unusable_answer_in_a_row_is_fatal() -> None:
    backoff = Backoff()
    unusable = UnusableAnswerError("Auth0 answered nonsense")
    verdicts = [
        backoff.fatal_if_repeated(error)
        for error in (
            unusable,
            TransientError("no answer"),
            unusable,
            TransientError("no"),
            unusable,
        )
    ]
    assert verdicts[:4] == [None] * 4
    final = verdicts[4]
    assert isinstance(final, FatalError)
    assert str(final) == "Auth0 answered nonsense, three times in a row"
    assert final.hint
    backoff.reset()
    assert backoff.fatal_if_repeated(unusable) is None


def test_unusable_answers_of_two_services_are_counted_apart() -> None:
    backoff = Backoff()
    answers = [
        UnusableAnswerError("nonsense", service=service) for service in ("Auth0", "Segment")
    ] * 2
    assert [backoff.fatal_if_repeated(error) for error in answers] == [None] * 4


# A step that somebody waits for


class Clock:
    """A time that passes while a step waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Stopping(threading.Event):
    """A stop event whose waits move the clock instead of taking time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.clock.now += timeout
        return self.is_set()


class Step:
    """A step that fails with these errors, one each attempt, and then succeeds."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.attempts = 0

    def run(self, attempts: Iterable[AbstractContextManager[None]]) -> int:
        for attempt in attempts:
            with attempt:
                self.attempts += 1
                error = self.errors.pop(0) if self.errors else None
                if error is not None:
                    raise error
        return self.attempts


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stopping(clock: Clock) -> Stopping:
    return Stopping(clock)


@pytest.fixture
def waits(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays of steps without a stop event. They move the clock instead of taking time."""
    stopping = Stopping(clock)
    monkeypatch.setattr("poller.service.upstream.retry.threading.Event", lambda: stopping)
    return stopping.waits


def test_a_step_is_tried_again_until_it_succeeds(clock: Clock, waits: list[float]) -> None:
    step = Step(TransientError("once"), TransientError("twice"))
    assert step.run(retrying(monotonic=clock)) == 3
    assert len(waits) == 2


def test_a_step_gives_up_before_the_attempt_that_would_come_after_its_patience(
    clock: Clock, waits: list[float]
) -> None:
    with pytest.raises(TransientError, match="for ever"):
        Step(*[TransientError("for ever")] * 100).run(retrying(PATIENCE, monotonic=clock))
    assert 0 < clock.now <= PATIENCE.total_seconds()
    assert clock.now > 0.75 * PATIENCE.total_seconds()
    assert len(waits) > 3


def test_a_delay_that_a_service_asks_for_uses_up_the_patience_of_a_step(
    clock: Clock, waits: list[float]
) -> None:
    asked = TransientError("429", retry_after=timedelta(seconds=9))
    with pytest.raises(TransientError, match="429"):
        Step(*[asked] * 9).run(retrying(PATIENCE, monotonic=clock))
    assert len(waits) == 2


@pytest.mark.usefixtures("waits")
def test_a_step_ends_at_the_third_unusable_answer(clock: Clock) -> None:
    step = Step(*[UnusableAnswerError("nonsense", retry_after=timedelta(0))] * 9)
    with pytest.raises(FatalError, match="nonsense, three times in a row"):
        step.run(retrying(monotonic=clock))
    assert step.attempts == 3


@pytest.mark.usefixtures("waits")
def test_a_step_that_loses_patience_over_unusable_answers_raises_the_last_one(
    clock: Clock,
) -> None:
    with pytest.raises(UnusableAnswerError, match=r"^nonsense$"):
        Step(UnusableAnswerError("nonsense")).run(retrying(timedelta(seconds=0.1), monotonic=clock))


@pytest.mark.parametrize(
    "error",
    [
        FatalError("never", code="log-empty", hint="act"),
        TransientError("much later", retry_after=timedelta(hours=1)),
        UnknownHostError("no such host"),
        KeyError("a bug"),
    ],
    ids=["fatal", "asked to wait longer than it has patience", "a host that nobody knows", "a bug"],
)
def test_a_step_gives_up_at_once_if_waiting_cannot_help(
    clock: Clock, waits: list[float], error: Exception
) -> None:
    step = Step(error)
    with pytest.raises(type(error)):
        step.run(retrying(monotonic=clock))
    assert (step.attempts, waits) == (1, [])


def test_each_failure_that_is_waited_out_is_one_line_in_the_log(
    clock: Clock, waits: list[float]
) -> None:
    structlog.reset_defaults()
    with capture_logs() as lines:
        Step(TransientError("later")).run(retrying(monotonic=clock))
    assert lines == [
        {
            "event": "attempt.failed",
            "log_level": "warning",
            "reason": "later",
            "retry_in_s": round(waits[0], 1),
        }
    ]


# A step of long work


def test_long_work_waits_for_as_long_as_a_service_asks_without_losing_patience(
    clock: Clock, stopping: Stopping
) -> None:
    asked = TransientError("429", retry_after=timedelta(minutes=5))
    assert Step(*[asked] * 9).run(retrying(PATIENCE, stopping, monotonic=clock)) == 10
    assert all(wait >= 300 for wait in stopping.waits)


def test_long_work_gives_up_after_its_patience(clock: Clock, stopping: Stopping) -> None:
    with pytest.raises(TransientError, match="for ever"):
        Step(*[TransientError("for ever")] * 100).run(
            retrying(LONG_PATIENCE, stopping, monotonic=clock)
        )
    assert clock.now <= LONG_PATIENCE.total_seconds()


def test_long_work_tries_an_unknown_host_again(clock: Clock, stopping: Stopping) -> None:
    step = Step(UnknownHostError("no such host"))
    assert step.run(retrying(LONG_PATIENCE, stopping, monotonic=clock)) == 2


def test_long_work_that_is_told_to_stop_does_not_try_again(
    clock: Clock, stopping: Stopping
) -> None:
    stopping.set()
    with pytest.raises(TransientError, match="once"):
        Step(TransientError("once")).run(retrying(LONG_PATIENCE, stopping, monotonic=clock))
    assert stopping.waits == []


def test_long_work_that_is_told_to_stop_while_it_waits_does_not_try_again(
    clock: Clock, stopping: Stopping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "wait", lambda timeout: True)
    step = Step(TransientError("once"))
    with pytest.raises(TransientError, match="stopped"):
        step.run(retrying(LONG_PATIENCE, stopping, monotonic=clock))
    assert step.attempts == 1
