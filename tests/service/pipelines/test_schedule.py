from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.job import Job

from poller.service.lifecycle.liveness import SILENCE_S, Heartbeat
from poller.service.pipelines.schedule import Pause, Schedule

INTERVAL = timedelta(seconds=30)
NAME = "acme"


class Bench:
    """A schedule whose timer is not started. The test does what the timer does."""

    def __init__(self, *pauses: Pause | None) -> None:
        self.now = 1000.0
        self.steps = 0
        self.during = lambda: None
        self._pauses = iter(pauses)
        self.heartbeat = Heartbeat(lambda: self.now)
        self.schedule = Schedule(self.heartbeat, monotonic=lambda: self.now)
        self.schedule.add(NAME, self._step)

    def _step(self) -> Pause | None:
        self.steps += 1
        self.during()
        return next(self._pauses, Pause(length=INTERVAL))

    def run_job(self) -> None:
        self.schedule._run(NAME)

    def planned(self) -> list[Job]:
        """Return the jobs that the timer holds."""
        return list({job.id: job for job in self.schedule._scheduler.get_jobs()}.values())

    def is_alive_after(self, seconds: float) -> bool:
        self.now += seconds
        try:
            return self.heartbeat.is_alive
        finally:
            self.now -= seconds


def runs_missed(job: Job, until: datetime) -> list[datetime]:
    """Return the runs that APScheduler computes once the clock says `until`."""
    job.next_run_time = job.trigger.get_next_fire_time(None, until)
    return list(job._get_run_times(until))


@pytest.mark.parametrize("pause_s", [30.0, 600.0])
def test_between_two_steps_the_heartbeat_waits_for_the_next_one(pause_s: float) -> None:
    bench = Bench(Pause(length=timedelta(seconds=pause_s)))
    bench.run_job()
    assert bench.is_alive_after(pause_s + SILENCE_S)
    assert not bench.is_alive_after(pause_s + SILENCE_S + 1.0)


def test_a_clock_set_right_by_years_has_one_step_to_run() -> None:
    bench = Bench()
    now = datetime.now(UTC)
    bench.run_job()
    (job,) = bench.planned()
    assert runs_missed(job, now + INTERVAL / 2) == []
    assert len(runs_missed(job, now + timedelta(days=365 * 50))) == 1


def test_a_step_that_comes_too_early_is_planned_again() -> None:
    bench = Bench()
    bench.run_job()
    bench.now += 10.0
    before = datetime.now(UTC)
    bench.run_job()  # the wall clock was set forward
    (job,) = bench.planned()
    assert bench.steps == 1
    assert runs_missed(job, before + timedelta(seconds=19)) == []
    assert len(runs_missed(job, datetime.now(UTC) + timedelta(seconds=21))) == 1
    bench.now += 20.0
    bench.run_job()
    assert bench.steps == 2


def test_a_step_that_is_overdue_by_the_monotonic_clock_is_planned_for_now() -> None:
    bench = Bench()
    bench.run_job()
    bench.now += INTERVAL.total_seconds() + 3.0  # the wall clock was set back
    bench.schedule.nudge()
    (job,) = bench.planned()
    assert len(runs_missed(job, datetime.now(UTC))) == 1


def test_two_threads_never_do_the_steps_of_one_name_at_once() -> None:
    bench = Bench()
    bench.during = bench.run_job
    bench.run_job()
    assert bench.steps == 1


def test_a_name_that_is_woken_does_its_next_step_at_once() -> None:
    bench = Bench()
    bench.run_job()
    bench.schedule.wake(NAME)
    bench.run_job()
    assert bench.steps == 2


def test_a_name_that_is_woken_during_a_step_does_the_next_one_right_after_it() -> None:
    bench = Bench()
    bench.during = lambda: bench.schedule.wake(NAME)
    bench.run_job()
    bench.during = lambda: None
    bench.run_job()
    bench.run_job()
    assert bench.steps == 2


def test_a_name_in_trouble_waits_among_those_in_trouble() -> None:
    bench = Bench(Pause(length=INTERVAL, lane="trouble"), Pause(length=INTERVAL))
    assert [job.executor for job in bench.planned()] == ["default"]
    bench.run_job()
    assert [job.executor for job in bench.planned()] == ["trouble"]
    bench.now += INTERVAL.total_seconds()
    bench.run_job()
    assert [job.executor for job in bench.planned()] == ["default"]


def test_a_name_is_forgotten_after_its_last_step() -> None:
    bench = Bench(None)
    bench.run_job()
    bench.now += INTERVAL.total_seconds()
    bench.run_job()
    assert bench.steps == 1


def test_a_step_that_lasts_long_is_not_planned_again_meanwhile() -> None:
    bench = Bench()
    planned: list[Job] = []

    def nudge() -> None:
        bench.now += 600.0
        planned.extend(bench.planned())
        bench.schedule.nudge()
        planned.extend(bench.planned())

    bench.during = nudge
    bench.run_job()
    before, after = planned
    assert before is after


def test_a_name_that_is_added_again_during_its_last_step_goes_on() -> None:
    bench = Bench(None)
    again: list[str] = []

    def step() -> Pause:
        again.append("step")
        return Pause(length=INTERVAL)

    bench.during = lambda: bench.schedule.add(NAME, step)
    bench.run_job()
    bench.run_job()
    assert again == ["step"]


def test_no_step_begins_after_the_stop() -> None:
    bench = Bench()
    bench.schedule.stop()
    bench.run_job()
    assert bench.steps == 0
