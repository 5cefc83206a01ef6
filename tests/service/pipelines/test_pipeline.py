from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import structlog
from structlog.testing import capture_logs

from poller.core.errors import FatalError, NotYetError, TransientError
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.lifecycle.process import Failed, Process, Reason, Work
from poller.service.observability.systemd import Notifier, Supervisor
from poller.service.pipelines import pipeline
from poller.service.pipelines.pipeline import LONGEST_PAUSE, Open, Pipeline, Running
from poller.service.pipelines.pipelines import Pipelines
from poller.service.pipelines.schedule import Pause
from poller.service.upstream.retry import Backoff

INTERVAL = timedelta(seconds=30)
HELD = TransientError("the ledger is held by process 4711")


class Part:
    """A pipeline's parts, which note what happens to them. Errors are raised in their order."""

    def __init__(self, *, opening: list[Exception] | None = None) -> None:
        self.opening = opening or []
        self.steps: list[Exception] = []
        self.told: list[str] = []
        self.work: Work | None = None
        self.during = lambda: None

    @contextmanager
    def opened(self, work: Work) -> Iterator[Running]:
        if self.opening:
            raise self.opening.pop(0)
        self.work = work
        self.told.append("opened")
        try:
            yield Running(step=self._step, end=self._end)
        finally:
            self.told.append("closed")

    def _end(self, error: BaseException | None) -> None:
        assert self.work is not None
        assert self.work.stopping.is_set()
        self.told.append(f"end {error}")

    def _step(self) -> timedelta:
        self.told.append("step")
        self.during()
        if self.steps:
            raise self.steps.pop(0)
        return INTERVAL


class Bench:
    def __init__(self, open_: Open, *, is_alone: bool = False) -> None:
        self.woken = 0
        self.supervisor = Supervisor(Notifier(None), Heartbeat())
        self.process = Process()
        self.pipeline = Pipeline(
            "" if is_alone else "acme",
            open_,
            self.process,
            self.supervisor,
            wake=self._note_wake,
            is_alone=is_alone,
            backoff=Backoff(most=LONGEST_PAUSE, jitter=lambda: 1.0),
        )

    def _note_wake(self) -> None:
        self.woken += 1

    def pause_s(self) -> float:
        pause = self.pipeline.step()
        assert pause is not None
        return pause.length.total_seconds()


@pytest.fixture
def logs() -> Iterator[list[dict[str, object]]]:
    structlog.reset_defaults()
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as captured:
        yield captured


def test_a_pipeline_that_cannot_be_opened_is_tried_again_ever_more_rarely(
    logs: list[dict[str, object]],
) -> None:
    part = Part(opening=[HELD] * 12)
    bench = Bench(part.opened)
    pauses = [bench.pause_s() for _ in range(12)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 1.0
    assert pauses[-1] == LONGEST_PAUSE.total_seconds()
    assert {(line["event"], line["pipeline"]) for line in logs} == {("pipeline.failed", "acme")}
    condition = bench.supervisor.condition
    assert (condition.kind, condition.reason) == ("failed", str(HELD))
    assert bench.pause_s() == INTERVAL.total_seconds()


def test_a_pipeline_that_waits_for_another_one_has_not_failed(
    logs: list[dict[str, object]],
) -> None:
    part = Part(opening=[NotYetError("it is still open")] * 60)
    bench = Bench(part.opened)
    assert {bench.pause_s() for _ in range(60)} == {1.0}
    assert bench.supervisor.condition.kind == "starting"
    assert bench.pause_s() == INTERVAL.total_seconds()
    assert [line["event"] for line in logs if line["log_level"] != "debug"] == ["pipeline.opened"]


def test_a_pipeline_that_waits_for_a_minute_has_failed() -> None:
    part = Part(opening=[NotYetError("it is still open")] * 61)
    bench = Bench(part.opened)
    for _ in range(61):
        bench.pipeline.step()
    condition = bench.supervisor.condition
    assert (condition.kind, condition.reason) == ("failed", "it is still open")


def test_a_removed_pipeline_that_is_to_be_opened_anew_stays_removed() -> None:
    part = Part()
    bench = Bench(part.opened)
    bench.pipeline.step()
    bench.pipeline.remove()
    bench.pipeline.reopen()
    assert bench.pipeline.step() is None
    assert part.told[-1] == "closed"


def test_a_pipeline_in_trouble_waits_among_those_in_trouble() -> None:
    part = Part(opening=[HELD])
    bench = Bench(part.opened)
    failed, opened = bench.pipeline.step(), bench.pipeline.step()
    assert failed is not None
    assert failed.lane == "trouble"
    assert opened == Pause(length=INTERVAL, lane="trouble")


def test_a_bug_closes_its_pipeline_and_opens_it_anew(logs: list[dict[str, object]]) -> None:
    part = Part()
    part.steps.append(ZeroDivisionError("203.0.113.9"))
    bench = Bench(part.opened)
    assert bench.pause_s() == 1.0
    assert part.told == ["opened", "step", "end 203.0.113.9", "closed"]
    bench.pipeline.step()
    assert part.told[4:] == ["opened", "step"]
    (failed,) = [line for line in logs if line["event"] == "pipeline.failed"]
    assert failed["error"] == "ZeroDivisionError"
    assert "203.0.113.9" not in str(logs)
    assert bench.supervisor.condition.reason == "a bug: ZeroDivisionError"


def test_a_bug_in_a_thread_of_a_pipeline_ends_only_this_pipeline() -> None:
    part = Part()
    bench = Bench(part.opened)
    bench.pipeline.step()
    assert part.work is not None
    part.work.end(Failed(ZeroDivisionError()))
    assert part.work.stopping.is_set()
    assert bench.woken == 1
    assert not bench.process.stopping.is_set()
    bench.pipeline.step()
    assert part.told[-1] == "closed"
    bench.pipeline.step()
    assert part.told[-2:] == ["opened", "step"]


def test_a_replaced_pipeline_is_closed_before_it_is_opened_by_the_new_settings() -> None:
    old, new = Part(), Part()
    bench = Bench(old.opened)
    bench.pipeline.step()
    bench.pipeline.replace(new.opened)
    assert old.work is not None
    assert old.work.stopping.is_set()
    assert bench.woken == 1
    bench.pipeline.step()
    assert old.told == ["opened", "step", "end None", "closed"]
    assert new.told == ["opened", "step"]
    assert new.work is not None
    assert not new.work.stopping.is_set()


def test_a_removed_pipeline_is_closed_for_good() -> None:
    part = Part()
    bench = Bench(part.opened)
    bench.pipeline.step()
    bench.pipeline.remove()
    assert part.work is not None
    assert part.work.stopping.is_set()
    assert bench.woken == 1
    assert bench.pipeline.step() is None
    assert part.told == ["opened", "step", "end None", "closed"]
    assert not bench.pipeline.replace()


def test_a_removed_pipeline_that_comes_back_in_time_is_opened_anew() -> None:
    old, new = Part(), Part()
    bench = Bench(old.opened)
    bench.pipeline.step()
    bench.pipeline.remove()
    assert bench.pipeline.replace(new.opened)
    assert bench.pipeline.step() is not None
    assert old.told[-1] == "closed"
    assert new.told == ["opened", "step"]


def test_the_first_error_of_its_threads_is_the_one_that_is_told() -> None:
    part = Part()
    bench = Bench(part.opened)
    bench.pipeline.step()
    assert part.work is not None
    for text in ("first", "second"):
        part.work.end(Failed(TransientError(text)))
    bench.pipeline.step()
    assert bench.supervisor.condition.reason == "first"
    bench.pipeline.step()
    assert part.told[-2:] == ["opened", "step"]


def test_an_error_of_the_old_parts_does_not_hurt_the_new_ones() -> None:
    old, new = Part(), Part()
    bench = Bench(old.opened)
    bench.pipeline.step()
    assert old.work is not None
    old.work.end(Failed(TransientError("gone")))
    bench.pipeline.replace(new.opened)
    bench.pipeline.step()
    assert bench.supervisor.condition.kind == "starting"
    assert new.told == ["opened", "step"]


def test_a_page_that_is_not_settled_in_time_is_abandoned_before_the_parts_are_closed(
    logs: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "GRACE_S", 0.0)
    part = Part()
    bench = Bench(part.opened)
    bench.pipeline.step()
    assert part.work is not None
    bench.pipeline.replace()
    with part.work.working():
        bench.pipeline.step()
    assert "page.abandoned" in [line["event"] for line in logs]


def test_the_parts_are_told_to_stop_before_they_are_closed() -> None:
    part = Part()
    bench = Bench(part.opened)
    bench.pipeline.open()
    assert part.work is not None
    bench.pipeline.close()
    assert part.work.stopping.is_set()


def test_the_pauses_begin_anew_after_a_success() -> None:
    part = Part()
    bench = Bench(part.opened)
    part.steps = [HELD, HELD]
    assert [bench.pause_s(), bench.pause_s()] == [1.0, 2.0]
    bench.pause_s()
    part.steps = [HELD]
    assert bench.pause_s() == 1.0


def test_a_step_is_under_way_in_its_process() -> None:
    part = Part()
    bench = Bench(part.opened)
    settled: list[bool] = []
    part.during = lambda: settled.append(bench.process.settle_down(0.0))
    bench.pipeline.step()
    assert settled == [False]


def test_a_pipeline_that_has_gone_is_forgotten_and_a_new_one_of_its_name_is_not() -> None:
    process, supervisor = Process(), Supervisor(Notifier(None), Heartbeat())
    gone: list[str] = []

    def made(name: str) -> Pipeline:
        return Pipeline(
            "acme", Part().opened, process, supervisor, on_gone=lambda: gone.append(name)
        )

    first, second = made("first"), made("second")
    pipelines = Pipelines(process, supervisor)
    pipelines.add(first)
    first.remove()
    pipelines.add(second)
    pipelines._step(first)
    assert pipelines.get("acme") is second
    second.remove()
    pipelines._step(second)
    assert (len(pipelines), gone) == (0, ["second"])


def test_a_pipeline_that_is_alone_raises_its_error() -> None:
    part = Part()
    part.steps.append(FatalError("never", code="log-empty", hint="act"))
    bench = Bench(part.opened, is_alone=True)
    bench.pipeline.open()
    with pytest.raises(FatalError):
        bench.pipeline.step()


def test_an_error_in_a_thread_of_a_pipeline_that_is_alone_ends_the_process() -> None:
    part = Part()
    bench = Bench(part.opened, is_alone=True)
    bench.pipeline.open()
    assert part.work is not None
    error = ZeroDivisionError()
    part.work.end(Failed(error))
    assert bench.process.wait() == Failed(error)


def test_the_work_of_a_pipeline_is_under_way_in_its_process() -> None:
    part = Part()
    bench = Bench(part.opened)
    bench.pipeline.open()
    assert part.work is not None
    with part.work.working():
        assert not bench.process.settle_down(0.0)
    assert bench.process.settle_down(0.0)


def test_a_process_runs_its_pipelines_until_it_is_told_to_stop_and_closes_them() -> None:
    part, supervisor = Part(), Supervisor(Notifier(None), Heartbeat())
    process = Process()

    class Ending(Part):
        """It tells the process to stop at its first step."""

        def _step(self) -> timedelta:
            process.end(reason)
            return INTERVAL

    reason: Reason = Failed(ZeroDivisionError())
    ending = Ending()
    with Pipelines(process, supervisor) as pipelines:
        pipelines.add(Pipeline("a", part.opened, process, supervisor))
        pipelines.add(Pipeline("b", ending.opened, process, supervisor), timedelta(seconds=0.1))
        assert pipelines.run() == reason
        assert process.settle_down()
    assert part.told == ["opened", "step", "end ", "closed"]
    assert ending.told == ["opened", "end ", "closed"]
