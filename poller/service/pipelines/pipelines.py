"""The pipelines of one process, from the start of their schedule to the end of the process."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import structlog

from poller import __version__
from poller.service.lifecycle.process import Failed, Process, Reason, Work
from poller.service.observability.systemd import Supervisor
from poller.service.pipelines.pipeline import Pipeline, Running
from poller.service.pipelines.schedule import Pause, Schedule

log = structlog.get_logger()


class Pipelines:
    """The pipelines by name. Leaving the context closes them."""

    def __init__(
        self,
        process: Process,
        supervisor: Supervisor,
        *,
        schedule: Schedule | None = None,
    ) -> None:
        self._process = process
        self._supervisor = supervisor
        self._schedule = schedule or Schedule(supervisor.heartbeat)
        self._pipelines: dict[str, Pipeline] = {}

    def __iter__(self) -> Iterator[Pipeline]:
        return iter([*self._pipelines.values()])

    def __len__(self) -> int:
        return len(self._pipelines)

    def get(self, name: str) -> Pipeline | None:
        return self._pipelines.get(name)

    def wake(self, name: str) -> None:
        """Let a pipeline do its next step at once."""
        self._schedule.wake(name)

    def add(self, pipeline: Pipeline, after: timedelta = timedelta()) -> None:
        """Let a new pipeline do its first step after a time."""
        self._pipelines[pipeline.name] = pipeline
        self._schedule.add(pipeline.name, lambda: self._step(pipeline), after)

    def run(self, on_tick: Callable[[], None] = lambda: None, **facts: Any) -> Reason:
        """Run until there is a reason to stop. Steps may still be under way then.

        The first log line holds the facts. `on_tick` is called about every second.
        """

        def tick() -> None:
            self._schedule.nudge()
            self._supervisor.look()
            on_tick()

        with self._process.handling_signals():
            self._schedule.start()
            self._supervisor.ready()
            log.info("daemon.started", version=__version__, **facts)
            try:
                reason = self._process.wait(tick)
            finally:
                self._supervisor.stopping()
                self._schedule.stop()
                for pipeline in self:
                    pipeline.stop()
            error = reason.error if isinstance(reason, Failed) else None
            for pipeline in self:
                pipeline.end(error)
            return reason

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipeline in self:
            pipeline.close(error)

    def _step(self, pipeline: Pipeline) -> Pause | None:
        try:
            pause = pipeline.step()
        except BaseException as error:  # noqa: BLE001 - the main thread raises it again
            self._process.end(Failed(error))
            return None
        if pause is None and self._pipelines.get(pipeline.name) is pipeline:
            del self._pipelines[pipeline.name]
            pipeline.on_gone()
        return pause


def run_alone(step: Callable[[], timedelta], process: Process, supervisor: Supervisor) -> Reason:
    """Do the steps of one pipeline that is open already, until there is a reason to stop."""

    def opened(work: Work) -> AbstractContextManager[Running]:
        del work
        return nullcontext(Running(step=step))

    pipelines = Pipelines(process, supervisor)
    pipelines.add(Pipeline("", opened, process, supervisor, is_alone=True))
    return pipelines.run()
