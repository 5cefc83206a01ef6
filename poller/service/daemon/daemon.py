"""The daemon: APScheduler's timer drives the cycles, the main thread waits for a reason to stop."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from poller import __version__
from poller.core.errors import FatalError, PollerError, TransientError
from poller.core.forward import Forwarded
from poller.service.lifecycle.cycles import CycleCount, CycleJournal
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.lifecycle.process import Failed, Process, Reason
from poller.service.observability.systemd import Notifier, Supervisor
from poller.service.upstream.retry import Backoff

PROGRESS_INTERVAL_S = 60.0
_OVERDUE_S = 2.0
_JOB = "cycle"

log = structlog.get_logger()


class Daemon:
    """Drains every `interval`, sooner after a failure; runs until a signal or a reason of its own."""

    def __init__(  # noqa: PLR0913 - what to do, when, and who is told
        self,
        pages: Callable[[], Iterator[Forwarded]],
        journal: CycleJournal,
        process: Process,
        *,
        interval: timedelta,
        backoff: Backoff,
        upkeep: Callable[[], None] = lambda: None,
        supervisor: Supervisor | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pages = pages
        self._journal = journal
        self._process = process
        self._interval = interval
        self._backoff = backoff
        self._upkeep = upkeep
        self._supervisor = supervisor or Supervisor(Notifier(None), Heartbeat())
        self._monotonic = monotonic
        self._scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(1)}, timezone=UTC
        )
        self._due_at = monotonic()
        self._has_progressed = False
        self._blocked: str | None = None

    def run(self) -> Reason:
        """Runs until there is a reason to stop; the cycle under way may still be at work then."""
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
        """One drain and what came of it; returns the delay before the next."""
        count = CycleCount()
        try:
            self._drain(count)
        except FatalError as error:
            if not self._has_progressed:
                raise
            return self._block(error)
        except TransientError as error:
            # Unusable answers block and never end the process: who sends them may be gone soon.
            unusable = self._backoff.fatal_if_repeated(error)
            return self._postpone(error) if unusable is None else self._block(unusable)
        self._unblock()
        self._note_cycle(None)
        self._supervisor.finished(count)
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
                    self._supervisor.progressed(count)
            outcome = "cycle.finished"
        finally:
            (log.info if count.read else log.debug)(outcome, **count.facts())

    def _job(self) -> None:
        # APScheduler swallows what a job raises, so nothing may leave here.
        if self._process.stopping.is_set():
            return
        early_s = self._due_at - self._monotonic()
        if early_s > _OVERDUE_S:  # the wall clock was set forward, or the nudge came first
            self._plan(timedelta(seconds=early_s))
            return
        self._supervisor.heartbeat.beat()
        with self._process.working():
            try:
                delay = self.cycle()
                self._upkeep()
            except BaseException as error:  # noqa: BLE001 - a bug ends the process, by the main thread
                self._process.end(Failed(error))
                return
        self._schedule(delay)

    def _schedule(self, delay: timedelta) -> None:
        self._due_at = self._monotonic() + delay.total_seconds()
        self._supervisor.heartbeat.rest(delay.total_seconds())
        if not self._process.stopping.is_set():
            self._plan(delay)

    def _plan(self, delay: timedelta) -> None:
        """Plan the one next cycle.

        APScheduler goes by the wall clock. It lists every run that an interval job has missed, so
        that a clock set right by years fills the memory. A job for one moment has no such list.
        """
        self._scheduler.add_job(
            self._job,
            "date",
            run_date=datetime.now(UTC) + delay,
            id=_JOB,
            replace_existing=True,
            misfire_grace_time=None,  # however late it is, it runs
            max_instances=2,  # the cycle that plans the next one has not returned yet
        )

    def _tick(self) -> None:
        self._nudge()
        self._supervisor.look()

    def _nudge(self) -> None:
        """Runs a cycle that is overdue: the timer goes by the wall clock, which may have been set back."""
        if self._process.is_idle and self._monotonic() > self._due_at + _OVERDUE_S:
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
        if self._blocked != str(error):
            self._blocked = str(error)
            log.error("daemon.blocked", code=error.code, reason=str(error), hint=error.hint)
        self._note(lambda: self._journal.note_blocked(error))
        self._supervisor.blocked(error)
        # It looks again as after any failure: soon at first, since a passing 403 is no reason to be late.
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
            log.warning("journal.failed", reason=str(error))
