"""The daemon: a timer starts the cycles, and the main thread waits for a reason to stop.

The timer is APScheduler's. Two of its habits shape this module:

- It goes by the wall clock, which may be set. So the time of the next cycle is kept by the
  monotonic clock too. A cycle that the timer starts too early is put off, and a cycle that the
  timer would start too late is started by the main thread.
- It swallows what a job raises. So a job hands every error to the main thread.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from poller import __version__
from poller.core.errors import FatalError, PollerError, TransientError
from poller.core.forward import Forwarded
from poller.service.lifecycle.backlog import NO_BACKLOG, Backlog
from poller.service.lifecycle.cycles import CycleCount, CycleJournal
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.lifecycle.process import Failed, Process, Reason
from poller.service.observability.systemd import Notifier, Supervisor
from poller.service.upstream.retry import Backoff

PROGRESS_INTERVAL_S = 60.0
_TIMER_TOLERANCE_S = 2.0
"""The largest difference between the times at which a cycle is due and at which it begins."""
_JOB = "cycle"

log = structlog.get_logger()


class BacklogWork(Protocol):
    """The work on a backlog, which goes on beside the cycles."""

    @property
    def state(self) -> Backlog:
        """Return the facts about the backlog at this moment."""
        ...

    @property
    def blocked(self) -> FatalError | None:
        """Return the error that somebody must act on, until the work goes on."""
        ...

    def look_for_work(self) -> None:
        """Go on with the slices that the ledger holds and no thread has."""
        ...

    def pause(self) -> None:
        """Let no slice go on, because live polling is blocked."""
        ...

    def resume(self) -> None:
        """Let the slices go on, or try again if they were blocked."""
        ...


class NoBacklogWork:
    """No work on a backlog."""

    state = NO_BACKLOG
    blocked = None

    def look_for_work(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Daemon:
    """Drains the log every `interval`, and sooner after a failure, until there is a reason to stop.

    `maintain` is called after each cycle. The `pages` of a cycle are one drain. The `backlog` is
    worked on in threads of its own. If the daemon is blocked, so is the backlog, and the other way
    round.
    """

    def __init__(  # noqa: PLR0913 - what to do, when, and who is told
        self,
        pages: Callable[[], Iterator[Forwarded]],
        journal: CycleJournal,
        process: Process,
        *,
        interval: timedelta,
        backoff: Backoff,
        maintain: Callable[[], None] = lambda: None,
        backlog: BacklogWork | None = None,
        supervisor: Supervisor | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pages = pages
        self._journal = journal
        self._process = process
        self._interval = interval
        self._backoff = backoff
        self._maintain = maintain
        self._backlog = backlog or NoBacklogWork()
        self._supervisor = supervisor or Supervisor(Notifier(None), Heartbeat())
        self._monotonic = monotonic
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(1)}, timezone=UTC
        )
        self._due_at = monotonic()
        self._has_progressed = False
        self._is_idle = True
        self._blocked: str | None = None

    def run(self) -> Reason:
        """Run until there is a reason to stop. A cycle may still be under way then."""
        self._plan(timedelta())
        self._supervisor.heartbeat.beat()
        self._scheduler.start()
        self._supervisor.ready()
        log.info(
            "daemon.started",
            version=__version__,
            interval_s=self._interval.total_seconds(),
        )
        try:
            return self._process.wait(self._tick)
        finally:
            self._supervisor.stopping()
            self._scheduler.shutdown(wait=False)

    def cycle(self) -> timedelta:
        """Drain once, record the result, and return the delay before the next cycle.

        A fatal error before the first settled page ends the process, since a setting is probably
        wrong. Afterwards it only blocks the daemon, which keeps trying: the setting was right
        once, so that someone has to act and nobody has to restart the daemon.

        Raises:
            FatalError: nothing was settled since the start.
        """
        count = CycleCount()
        try:
            self._backlog.look_for_work()
            self._drain(count)
        except FatalError as error:
            if not self._has_progressed:
                raise
            return self._block(error)
        except TransientError as error:
            # An unusable answer never ends the process. The proxy that sends it may be gone soon.
            unusable = self._backoff.fatal_if_repeated(error)
            return self._postpone(error) if unusable is None else self._block(unusable)
        self._note_cycle(None)
        blocked = self._backlog.blocked
        self._backlog.resume()
        if blocked is not None:
            return self._tell_blocked(blocked)
        self._unblock()
        self._supervisor.finished(count, self._backlog.state)
        return self._interval

    def _drain(self, count: CycleCount) -> None:
        reported_at = self._monotonic()
        outcome = "cycle.interrupted"
        try:
            for forwarded in self._pages():
                self._has_progressed = True
                self._backoff.reset()
                self._supervisor.heartbeat.beat()
                count.add(forwarded.settlement)
                if self._monotonic() - reported_at >= PROGRESS_INTERVAL_S:
                    reported_at = self._monotonic()
                    log.info("cycle.progressed", **count.facts())
                    self._supervisor.progressed(count, self._backlog.state)
            outcome = "cycle.finished"
        finally:
            (log.info if count.read else log.debug)(outcome, **count.facts())

    def _job(self) -> None:
        # Nothing may be raised here, since APScheduler would swallow it.
        if self._process.stopping.is_set():
            return
        early_s = self._due_at - self._monotonic()
        if early_s > _TIMER_TOLERANCE_S:
            # The wall clock was set forward, or the main thread started this cycle already.
            self._plan(timedelta(seconds=early_s))
            return
        self._supervisor.heartbeat.beat()
        self._is_idle = False
        with self._process.working():
            try:
                delay = self.cycle()
                self._maintain()
            except BaseException as error:  # noqa: BLE001 - the main thread raises it again
                self._process.end(Failed(error))
                return
        self._schedule(delay)
        self._is_idle = True

    def _schedule(self, delay: timedelta) -> None:
        self._due_at = self._monotonic() + delay.total_seconds()
        self._supervisor.heartbeat.rest(delay.total_seconds())
        if not self._process.stopping.is_set():
            self._plan(delay)

    def _plan(self, delay: timedelta) -> None:
        """Plan the next cycle as a job for one moment.

        APScheduler lists every run that an interval job has missed. If a clock is set right by
        years, the list fills the memory. A job for one moment has no such list.
        """
        self._scheduler.add_job(
            self._job,
            "date",
            run_date=datetime.now(UTC) + delay,
            id=_JOB,
            replace_existing=True,
            misfire_grace_time=None,  # a late job runs however late it is
            max_instances=2,  # the cycle that plans the next one has not returned yet
        )

    def _tick(self) -> None:
        self._nudge()
        self._supervisor.look()

    def _nudge(self) -> None:
        """Start a cycle that is overdue, since the wall clock may have been set back."""
        if self._is_idle and self._monotonic() > self._due_at + _TIMER_TOLERANCE_S:
            self._plan(timedelta())

    def _postpone(self, error: TransientError) -> timedelta:
        delay = self._backoff.delay_after(error)
        if not self._process.stopping.is_set():
            log.warning(
                "cycle.postponed", reason=str(error), retry_in_s=round(delay.total_seconds(), 1)
            )
            self._note_cycle(str(error))
            self._supervisor.postponed(error, delay)
        return delay

    def _block(self, error: FatalError) -> timedelta:
        self._backlog.pause()
        return self._tell_blocked(error)

    def _tell_blocked(self, error: FatalError) -> timedelta:
        if self._blocked != str(error):
            self._blocked = str(error)
            log.error("daemon.blocked", code=error.code, reason=str(error), hint=error.hint)
        self._note(lambda: self._journal.note_blocked(error))
        self._supervisor.blocked(error)
        # The daemon tries again soon at first: a passing 403 is not a reason to be late.
        return max(self._interval, self._backoff.delay_after(error))

    def _unblock(self) -> None:
        if self._blocked is not None:
            self._blocked = None
            log.info("daemon.recovered")
        self._note(lambda: self._journal.note_blocked(None))

    def _note_cycle(self, error: str | None) -> None:
        self._note(lambda: self._journal.note_cycle(at=datetime.now(UTC), error=error))

    def _note(self, note: Callable[[], None]) -> None:
        try:
            note()
        except PollerError as error:
            log.warning("daemon_status.failed", reason=str(error))
