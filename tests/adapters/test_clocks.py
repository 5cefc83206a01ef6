"""A clock is believed only where another clock agrees with it."""

from datetime import UTC, datetime, timedelta

import pytest

from poller.adapters.clocks import AGREEMENT, ServerClock, earliest_now, introduce

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
AGED_1970 = datetime(1970, 1, 1, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (
    timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days")
)


class World:
    """The true time, a host that is off by `host_off`, and the clocks of two services."""

    def __init__(self, *, host_off: timedelta = timedelta()) -> None:
        self.passed_s = 0.0
        self.host_off = host_off
        self.auth0, self.segment = (
            ServerClock(lambda: self.passed_s, host=self.host) for _ in range(2)
        )
        introduce(self.auth0, self.segment)

    @property
    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.passed_s)

    def host(self) -> datetime:
        return self.now + self.host_off


def test_a_servers_time_is_believed_where_the_host_agrees_within_minutes() -> None:
    world = World(host_off=AGREEMENT)
    assert world.auth0.observe(NOW) == NOW
    assert World(host_off=AGREEMENT + SECOND).auth0.observe(NOW) is None
    world.passed_s = 60.0
    assert world.auth0.now() == world.auth0.agreed() == NOW + MINUTE


@pytest.mark.parametrize("off", [40 * DAY, -40 * DAY], ids=["ahead", "behind"])
def test_two_servers_that_agree_are_believed_against_the_host(off: timedelta) -> None:
    world = World(host_off=off)
    assert world.auth0.observe(NOW) is None
    assert (world.auth0.agreed(), world.auth0.now()) == (None, world.host())
    world.passed_s = 10.0
    assert world.segment.observe(world.now) == world.now
    assert world.auth0.agreed() == world.segment.now() == world.now


@pytest.mark.parametrize(
    "wrong", [AGED_1970, NOW - DAY, NOW + DAY], ids=["1970", "a day old", "a day ahead"]
)
def test_one_wrong_date_moves_nothing(wrong: datetime) -> None:
    world = World()
    world.auth0.observe(NOW)
    world.segment.observe(NOW)
    world.passed_s = 1.0
    assert world.auth0.observe(wrong) is None
    assert world.segment.observe(wrong + DAY / 2) is None
    assert world.auth0.now() == world.segment.now() == world.auth0.agreed() == NOW + SECOND


def test_a_wrong_date_moves_nothing_where_the_host_is_wrong_too() -> None:
    world = World(host_off=40 * DAY)
    world.auth0.observe(NOW)
    world.segment.observe(NOW)
    assert world.segment.observe(NOW - DAY) is None
    assert world.segment.now() == world.auth0.now() == NOW


def test_without_an_own_believed_time_the_other_services_is_taken_and_then_the_hosts() -> None:
    world = World(host_off=MINUTE)
    assert world.segment.now() == NOW + MINUTE
    world.auth0.observe(NOW)
    world.segment.observe(AGED_1970)
    assert world.segment.now() == NOW


def test_a_time_that_was_believed_is_forgotten_where_every_other_clock_has_moved_away() -> None:
    """A machine that was paused: its monotonic clock stood still, its host clock was set again."""
    world = World()
    world.auth0.observe(NOW)
    world.segment.observe(NOW)
    world.host_off = HOUR
    assert world.auth0.observe(NOW + HOUR) == NOW + HOUR
    assert world.segment.believed() is None
    assert world.segment.now() == NOW + HOUR


def test_the_newest_event_at_the_end_of_the_log_bears_a_date_out() -> None:
    world = World(host_off=40 * DAY)
    assert world.auth0.observe(NOW) is None
    assert world.auth0.observe_log(NOW, NOW - 10 * MINUTE) is None
    assert world.auth0.observe_log(NOW, NOW - MINUTE) == NOW
    world.passed_s = 3600.0
    assert world.auth0.agreed() == world.auth0.observe(world.now) == world.now


def test_an_old_answer_with_old_events_overrules_no_two_clocks() -> None:
    world = World()
    world.auth0.observe(NOW)
    assert world.auth0.observe_log(NOW - DAY, NOW - DAY) is None
    assert world.auth0.now() == NOW


def test_of_two_times_the_lower_one_is_taken_that_the_log_does_not_disprove() -> None:
    oldest = NOW - 10 * DAY
    assert earliest_now(NOW + 40 * DAY, NOW, not_before=oldest) == NOW
    assert earliest_now(NOW, NOW + 40 * DAY, not_before=oldest) == NOW
    assert earliest_now(NOW, AGED_1970, not_before=oldest) == NOW
    assert earliest_now(NOW - 40 * DAY, NOW, not_before=oldest) == NOW
    assert earliest_now(AGED_1970, None, not_before=oldest) == oldest
    assert earliest_now(NOW, AGED_1970, not_before=None) == NOW
