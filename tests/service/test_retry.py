import threading
from datetime import timedelta

import pytest
import stamina

from poller.core.errors import FatalError, TransientError, UnknownHostError, UnusableAnswerError
from poller.service.upstream.retry import Backoff, patiently, persistently


def test_delays_double_up_to_the_most_and_jitter_only_shortens_them() -> None:
    longest = Backoff(jitter=lambda: 1.0)
    shortest = Backoff(jitter=lambda: 0.0)
    error = TransientError("later")
    assert [longest.failed(error).total_seconds() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [shortest.failed(error).total_seconds() for _ in range(8)] == [
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
        backoff.failed(TransientError("later"))
    backoff.succeeded()
    assert backoff.failed(TransientError("later")) == timedelta(seconds=1)


@pytest.mark.parametrize("asked_s", [0, 5, 600])
def test_what_the_server_asked_for_is_never_undercut(asked_s: int) -> None:
    delay = Backoff(jitter=lambda: 0.0).failed(
        TransientError("later", retry_after=timedelta(seconds=asked_s))
    )
    assert delay >= timedelta(seconds=asked_s)
    assert delay > timedelta(0)


@pytest.mark.parametrize(
    ("asked_s", "least_s", "most_s"),
    [(0, 0.5, 0.55), (0.1, 0.5, 0.55), (1, 1, 1.1), (600, 600, 600), (86400, 600, 600)],
)
def test_what_the_server_asks_for_is_believed_up_and_down_within_bounds(
    asked_s: float, least_s: float, most_s: float
) -> None:
    for jitter in (0.0, 1.0):
        backoff = Backoff(jitter=lambda jitter=jitter: jitter)  # type: ignore[misc]
        for _ in range(10):
            backoff.failed(TransientError("later"))
        delay_s = backoff.failed(
            TransientError("later", retry_after=timedelta(seconds=asked_s))
        ).total_seconds()
        assert least_s <= delay_s <= most_s + 1e-6


def test_six_failures_that_each_ask_for_a_second_cost_six_seconds_and_make_the_next_wait_no_longer() -> (
    None
):
    backoff = Backoff(jitter=lambda: 0.0)
    asked = TransientError("later", retry_after=timedelta(seconds=1), service="Segment")
    assert sum((backoff.failed(asked) for _ in range(6)), timedelta()) == timedelta(seconds=6)
    assert backoff.failed(TransientError("later", service="Segment")) == timedelta(seconds=0.5)


def test_each_service_has_its_own_count_of_failures() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    auth0, segment = (
        TransientError("later", service="Auth0"),
        TransientError("later", service="Segment"),
    )
    delays = [
        backoff.failed(error).total_seconds()
        for error in (auth0, auth0, auth0, segment, segment, auth0)
    ]
    assert delays == [1, 2, 4, 1, 2, 8]
    backoff.succeeded()
    assert [backoff.failed(error).total_seconds() for error in (auth0, segment)] == [1, 1]


def test_the_third_unusable_answer_in_a_row_needs_someone() -> None:
    backoff = Backoff()
    unusable = UnusableAnswerError("Auth0 answered nonsense")
    verdicts = [
        backoff.judged(error)
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
    backoff.succeeded()
    assert backoff.judged(unusable) is None


def test_unusable_answers_of_two_services_are_counted_apart() -> None:
    backoff = Backoff()
    answers = [
        UnusableAnswerError("nonsense", service=service) for service in ("Auth0", "Segment")
    ] * 2
    assert [backoff.judged(error) for error in answers] == [None] * 4


@pytest.mark.parametrize("loop", ["patiently", "persistently"])
def test_a_one_shot_step_ends_at_the_third_unusable_answer(loop: str) -> None:
    attempts = 0

    def step() -> None:
        nonlocal attempts
        attempts += 1
        raise UnusableAnswerError("nonsense", retry_after=timedelta(0))

    def patient() -> None:
        patience = timedelta(seconds=30)
        for attempt in (
            patiently(patience)
            if loop == "patiently"
            else persistently(threading.Event(), patience)
        ):
            with attempt:
                step()

    with pytest.raises(FatalError, match="nonsense, three times in a row"):
        patient()
    assert attempts == 3


def test_a_one_shot_step_that_runs_out_of_patience_over_unusable_answers_says_what_it_had() -> None:
    def patient() -> None:
        for attempt in patiently(timedelta(seconds=0.1)):
            with attempt:
                raise UnusableAnswerError("nonsense")

    with pytest.raises(UnusableAnswerError, match=r"^nonsense$"):
        patient()


def test_a_one_shot_step_that_is_asked_back_at_once_waits_all_the_same() -> None:
    attempts = 0

    def patient() -> None:
        nonlocal attempts
        for attempt in patiently(timedelta(seconds=1.2)):
            with attempt:
                attempts += 1
                raise TransientError("now", retry_after=timedelta(0))

    with pytest.raises(TransientError):
        patient()
    assert attempts <= 4


def test_a_one_shot_step_is_tried_again_until_it_succeeds() -> None:
    attempts = 0
    with stamina.set_testing(True, attempts=5):
        for attempt in patiently():
            with attempt:
                attempts += 1
                if attempts < 3:
                    raise TransientError("later")
    assert attempts == 3


@pytest.mark.parametrize(
    "error",
    [
        FatalError("never", hint="act"),
        TransientError("much later", retry_after=timedelta(hours=1)),
        UnknownHostError("no such host"),
    ],
    ids=["fatal", "asked to wait longer than it has patience", "a host that nobody knows"],
)
def test_a_one_shot_step_gives_up_at_once_where_waiting_is_no_use(error: Exception) -> None:
    attempts = 0

    def step() -> None:
        nonlocal attempts
        attempts += 1
        raise error

    def patient() -> None:
        for attempt in patiently():
            with attempt:
                step()

    with pytest.raises(type(error)):
        patient()
    assert attempts == 1
