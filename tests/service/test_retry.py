from datetime import timedelta

import pytest
import stamina

from poller.core.errors import FatalError, TransientError, UnknownHostError
from poller.service.retry import Backoff, patiently


def test_delays_double_up_to_the_most_and_jitter_only_shortens_them() -> None:
    longest = Backoff(jitter=lambda: 1.0)
    shortest = Backoff(jitter=lambda: 0.0)
    error = TransientError("later")
    assert [longest.failed(error).total_seconds() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert [shortest.failed(error).total_seconds() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_a_success_starts_the_delays_anew() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    for _ in range(100):
        backoff.failed(TransientError("later"))
    backoff.succeeded()
    assert backoff.failed(TransientError("later")) == timedelta(seconds=1)


@pytest.mark.parametrize("asked_s", [0, 5, 600])
def test_what_the_server_asked_for_is_never_undercut(asked_s: int) -> None:
    delay = Backoff(jitter=lambda: 0.0).failed(TransientError("later", retry_after=timedelta(seconds=asked_s)))
    assert delay >= timedelta(seconds=asked_s)
    assert delay > timedelta(0)


def test_to_be_asked_back_at_once_does_not_end_the_doubling() -> None:
    backoff = Backoff(jitter=lambda: 1.0)
    delays = [backoff.failed(TransientError("now", retry_after=timedelta(0))).total_seconds() for _ in range(5)]
    assert delays == [1, 2, 4, 8, 16]


def test_a_one_shot_step_that_is_asked_back_at_once_waits_all_the_same() -> None:
    attempts = 0

    def patient() -> None:
        nonlocal attempts
        for attempt in patiently(timedelta(seconds=1.5)):
            with attempt:
                attempts += 1
                raise TransientError("now", retry_after=timedelta(0))

    with pytest.raises(TransientError):
        patient()
    assert attempts <= 3


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
