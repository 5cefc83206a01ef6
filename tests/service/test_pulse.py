"""A loop that hangs is told from one that waits."""

from poller.adapters.http import DEADLINE_S
from poller.service.pacing import LONGEST_WAIT_S
from poller.service.pulse import SILENCE_S, Pulse


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def test_nothing_is_expected_before_the_first_beat() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    clock.at += 1e6
    assert pulse.is_alive


def test_a_step_may_take_its_time_and_no_more() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    pulse.beat()
    clock.at += SILENCE_S
    assert pulse.is_alive
    clock.at += 0.1
    assert not pulse.is_alive
    pulse.beat()
    assert pulse.is_alive


def test_a_rest_is_no_silence_but_to_sleep_through_its_end_is() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    pulse.rest(3600.0)
    clock.at += 3600.0 + SILENCE_S
    assert pulse.is_alive
    clock.at += 0.1
    assert not pulse.is_alive


def test_a_beat_ends_a_rest() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    pulse.rest(3600.0)
    pulse.beat()
    clock.at += SILENCE_S + 0.1
    assert not pulse.is_alive


def test_the_longest_call_and_the_longest_wait_are_steps() -> None:
    longest_resolution_s = 2 * 30.0  # glibc's defaults and three silent servers, IPv4 and IPv6 in turn
    assert max(DEADLINE_S, longest_resolution_s) + DEADLINE_S <= SILENCE_S
    assert LONGEST_WAIT_S < SILENCE_S
