"""One pipeline: it is opened, does its steps, and is closed. All of this is one step at a time."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from structlog.contextvars import bound_contextvars

from poller.core.errors import FatalError, NotYetError, PollerError, TakenOverError, TransientError
from poller.service.lifecycle.process import GRACE_S, Failed, Reason, Work
from poller.service.observability.logging_setup import describe_bug
from poller.service.observability.systemd import Supervisor
from poller.service.pipelines.schedule import Pause
from poller.service.upstream.retry import Backoff

LONGEST_PAUSE = timedelta(minutes=10)
"""The longest pause before a pipeline that failed is opened again."""
_WAIT = timedelta(seconds=1)
_MOST_WAITS = 60
"""A pipeline that waits for another one for longer than this many attempts has failed."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A pipeline that is open.

    `step` drains once, and returns the delay before the next step. Its FatalError says that
    somebody has to act. `end` is told why the pipeline is about to be closed: None stands for a
    stop.
    """

    step: Callable[[], timedelta]
    end: Callable[[BaseException | None], None] = lambda error: None  # noqa: ARG005 - unused


Open = Callable[[Work], AbstractContextManager[Running]]
"""Opens a pipeline within a context. The work says when to stop, and is told of work under way."""


@dataclass(slots=True)
class _Opened:
    """A pipeline that is open, with what closes it. Each opening has a work of its own."""

    running: Running
    stack: ExitStack
    work: Work


class Pipeline:
    """A pipeline by its name. `step` is called by one thread at a time, all else by any thread.

    `open_` is called by the first step, by each step after a failure, and after `replace`. With
    `is_alone` an error is raised instead: it ends the process, whose only pipeline this is.
    `wake` asks for the next step at once. `on_gone` is called once the pipeline was removed.
    """

    def __init__(  # noqa: PLR0913 - what it does, and who is told
        self,
        name: str,
        open_: Open,
        process: Work,
        supervisor: Supervisor,
        *,
        wake: Callable[[], None] = lambda: None,
        on_gone: Callable[[], None] = lambda: None,
        is_alone: bool = False,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = name
        self.supervisor = supervisor
        self.on_gone = on_gone
        self._open = open_
        self._process = process
        self._wake = wake
        self._is_alone = is_alone
        self._backoff = backoff or Backoff(most=LONGEST_PAUSE)
        self._opened: _Opened | None = None
        self._waits = 0
        self._lock = threading.Lock()  # guards the fields below it
        self._is_changed = False
        self._is_removed = False
        self._is_gone = False
        self._error: BaseException | None = None

    def open(self) -> None:
        """Open the pipeline. `step` does so by itself.

        Raises:
            PollerError, SettingsError: the pipeline cannot be opened.
        """
        work = Work(self._note_end, whole=self._process)
        with ExitStack() as stack, self._bound():
            running = stack.enter_context(self._open(work))
            self._opened = _Opened(running, stack.pop_all(), work)

    def step(self) -> Pause | None:
        """Open, do a step, or close. Return the pause before the next one, or None at the end.

        Raises:
            BaseException: the pipeline is alone and has failed.
        """
        with self._bound(), self._process.working():
            try:
                return self._step()
            except BaseException as error:
                if self._is_alone:
                    raise
                return self._fail(error)

    def replace(self, open_: Open | None = None) -> bool:
        """Open the pipeline anew, by other settings. The page at hand is settled first.

        Return False if the pipeline was removed, and is closed already.
        """
        with self._lock:
            if self._is_gone:
                return False
            self._open = open_ or self._open
            self._is_changed, self._is_removed = True, False
        self._interrupt()
        return True

    def reopen(self) -> None:
        """Open the pipeline anew, unless it was removed. The page at hand is settled first."""
        with self._lock:
            self._is_changed = True
        self._interrupt()

    def remove(self) -> None:
        """Close the pipeline for good. The page at hand is settled first."""
        with self._lock:
            self._is_removed = True
        self._interrupt()

    def stop(self) -> None:
        """Tell the work under way to stop. No step comes after it."""
        opened = self._opened
        if opened is not None:
            opened.work.stopping.set()

    def end(self, error: BaseException | None) -> None:
        """Note why the process ends."""
        if self._opened is not None:
            with self._bound():
                self._opened.running.end(error)

    def close(self, error: BaseException | None = None) -> None:
        """Close whatever is open. Call it when no step is under way."""
        opened, self._opened = self._opened, None
        if opened is None:
            return
        opened.work.stopping.set()
        with self._bound():
            opened.stack.__exit__(type(error) if error else None, error, None)

    def _step(self) -> Pause | None:
        with self._lock:
            is_changed, self._is_changed = self._is_changed, False
            error, self._error = self._error, None
            is_removed = self._is_removed
        if is_changed or is_removed:
            self._settle_and_close(None)
        if is_removed and self._has_gone():
            log.info("pipeline.removed")
            return None
        if error is not None and not is_changed:
            raise error
        if self._opened is None:
            try:
                self.open()
            except NotYetError as error:
                return self._wait(error)
            self._waits = 0
            log.info("pipeline.opened")
        assert self._opened is not None  # noqa: S101 - it was opened just now
        delay = self._opened.running.step()
        self._backoff.reset()
        if self.supervisor.condition.kind == "running":
            return Pause(length=delay)
        return Pause(length=delay, lane="trouble")

    def _wait(self, error: NotYetError) -> Pause:
        """Return the pause before the pipeline is opened again.

        Raises:
            NotYetError: it has waited for too long.
        """
        self._waits += 1
        if self._waits > _MOST_WAITS:
            raise error
        log.debug("pipeline.waits", reason=str(error))
        return Pause(length=_WAIT)

    def _has_gone(self) -> bool:
        """Return whether the pipeline is still to be removed. From then on it stays so."""
        with self._lock:
            self._is_gone = self._is_removed
            return self._is_gone

    def _fail(self, error: BaseException) -> Pause:
        """Close the pipeline, and return the pause before it is opened again."""
        self._settle_and_close(error)
        known, facts = _known(error)
        pause = self._backoff.delay_after(known)
        log.error("pipeline.failed", **facts, retry_in_s=round(pause.total_seconds(), 1))
        self.supervisor.failed(known, pause)
        return Pause(length=pause, lane="trouble")

    def _settle_and_close(self, error: BaseException | None) -> None:
        opened = self._opened
        if opened is None:
            return
        opened.work.stopping.set()
        opened.running.end(error)
        if not opened.work.settle_down(GRACE_S):
            log.warning("page.abandoned", note="not settled; it is sent again under the same ids")
        self.close(error)

    def _note_end(self, reason: Reason) -> None:
        """Take an error from a thread of the pipeline's own."""
        if not isinstance(reason, Failed):
            return
        if self._is_alone:
            self._process.end(reason)
            return
        with self._lock:
            self._error = self._error or reason.error
        self._interrupt()

    def _interrupt(self) -> None:
        self.stop()
        self._wake()

    def _bound(self) -> AbstractContextManager[None]:
        """Name the pipeline in each log line, unless it is alone."""
        return bound_contextvars(**({"pipeline": self.name} if self.name else {}))


def _known(error: BaseException) -> tuple[PollerError, dict[str, Any]]:
    """Return the error as `status` may show it, and its facts for the log.

    The text of a bug could quote an event, so only its kind is shown.
    """
    if isinstance(error, FatalError | TakenOverError):
        return error, {"code": error.code, "reason": str(error), "hint": error.hint}
    if isinstance(error, PollerError):
        return error, {"reason": str(error)}
    return TransientError(f"a bug: {type(error).__name__}"), describe_bug(error)
