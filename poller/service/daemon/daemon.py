"""The daemon of one pipeline: its cycles, and what becomes of their errors.

A schedule calls `step`, and waits for as long as the step says (see `poller.service.pipelines`).
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from poller.core.errors import FatalError, PollerError, TransientError
from poller.core.forward import Forwarded
from poller.service.lifecycle.backlog import NO_BACKLOG, Backlog
from poller.service.lifecycle.cycles import CycleCount, CycleJournal
from poller.service.lifecycle.liveness import Heartbeat
from poller.service.lifecycle.process import Work
from poller.service.observability.systemd import Notifier, Supervisor
from poller.service.upstream.retry import Backoff

PROGRESS_INTERVAL_S = 60.0

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
    """Drains the log at each step. Used by one thread at a time.

    `maintain` is called after each cycle. The `pages` of a cycle are one drain. The `backlog` is
    worked on in threads of its own. If the daemon is blocked, so is the backlog, and the other way
    round.

    With `never_ends` a fatal error blocks the daemon even before anything was settled.
    """

    def __init__(  # noqa: PLR0913 - what to do, when, and who is told
        self,
        pages: Callable[[], Iterator[Forwarded]],
        journal: CycleJournal,
        work: Work,
        *,
        interval: timedelta,
        backoff: Backoff,
        maintain: Callable[[], None] = lambda: None,
        backlog: BacklogWork | None = None,
        supervisor: Supervisor | None = None,
        never_ends: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pages = pages
        self._journal = journal
        self._work = work
        self._interval = interval
        self._backoff = backoff
        self._maintain = maintain
        self._backlog = backlog or NoBacklogWork()
        self._supervisor = supervisor or Supervisor(Notifier(None), Heartbeat())
        self._monotonic = monotonic
        self._may_end = not never_ends
        self._blocked: str | None = None

    def step(self) -> timedelta:
        """Do one cycle and the maintenance, and return the delay before the next step.

        Raises:
            FatalError: nothing was settled since the start.
        """
        delay = self.cycle()
        self._maintain()
        return delay

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
            self._drain(count)
            # The drain comes first: by its answers the clocks of the services prove each other.
            # Before that, the host's clock alone would date the profiles of the backlog.
            self._backlog.look_for_work()
        except FatalError as error:
            if self._may_end:
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
                self._may_end = False
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

    def _postpone(self, error: TransientError) -> timedelta:
        delay = self._backoff.delay_after(error)
        if not self._work.stopping.is_set():
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
