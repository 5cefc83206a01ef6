"""A loop that hangs is told from one that waits."""

import threading
from datetime import timedelta

from poller.adapters.http import DEADLINE_S
from poller.service.lifecycle.liveness import SILENCE_S, Heartbeat, StopEvent
from poller.service.upstream.rate_limit import RateLimiter


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def test_nothing_is_expected_before_the_first_beat() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock)
    clock.at += 1e6
    assert heartbeat.is_alive


def test_a_step_may_take_silence_s_and_no_more() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock)
    heartbeat.beat()
    clock.at += SILENCE_S
    assert heartbeat.is_alive
    clock.at += 0.1
    assert not heartbeat.is_alive
    heartbeat.beat()
    assert heartbeat.is_alive


def test_a_rest_is_no_silence_and_oversleeping_it_is() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock)
    heartbeat.rest(3600.0)
    clock.at += 3600.0 + SILENCE_S
    assert heartbeat.is_alive
    clock.at += 0.1
    assert not heartbeat.is_alive


def test_a_beat_ends_a_rest() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock)
    heartbeat.rest(3600.0)
    heartbeat.beat()
    clock.at += SILENCE_S + 0.1
    assert not heartbeat.is_alive


def test_a_beat_does_not_end_the_rest_of_another_thread() -> None:
    clock, caller = Clock(), iter([1, 2, 1])
    heartbeat = Heartbeat(clock, caller=lambda: next(caller))
    heartbeat.rest(3600.0)
    heartbeat.beat()
    clock.at += 3600.0 + SILENCE_S
    assert heartbeat.is_alive
    heartbeat.beat()
    clock.at += SILENCE_S + 0.1
    assert not heartbeat.is_alive


def test_the_longest_call_is_a_step() -> None:
    longest_resolution_s = (
        2 * 30.0
    )  # glibc's defaults and three silent servers, IPv4 and IPv6 in turn
    assert longest_resolution_s + DEADLINE_S <= SILENCE_S


def test_each_wait_for_the_rate_limit_is_a_rest_and_its_end_a_beat() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock)
    alive = []

    class ClockedEvent(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            clock.at += timeout + SILENCE_S
            alive.append(heartbeat.is_alive)
            return self.is_set()

    stop_event = StopEvent(ClockedEvent(), heartbeat)
    rate_limiter = RateLimiter(stop_event, monotonic=clock)
    for _ in range(3):
        rate_limiter.observe("logs", limit=10, remaining=0, reset_in=timedelta(seconds=50))
        rate_limiter.acquire("logs")
        assert not stop_event.wait(10_000.0)
    assert alive == [True] * 6
    clock.at += SILENCE_S
    assert heartbeat.is_alive
    clock.at += 1.0
    assert not heartbeat.is_alive


def test_a_wait_for_the_stop_event_ends_at_the_stop() -> None:
    stopping = threading.Event()
    stop_event = StopEvent(stopping, Heartbeat())
    assert not stop_event.wait(0.0)
    stop_event.set()
    assert stop_event.wait()
    assert stopping.is_set()
    assert stop_event.is_set()


def test_a_wait_for_the_event_itself_says_nothing_of_the_loop() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock)
    stopping = threading.Event()
    StopEvent(stopping, heartbeat)
    heartbeat.beat()
    clock.at += SILENCE_S + 1.0
    assert not stopping.wait(0.0)
    assert not heartbeat.is_alive
