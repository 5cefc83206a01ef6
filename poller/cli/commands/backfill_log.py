"""`backfill` without files: send logins and signups of the tenant's log."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from poller.cli.backfill_plan import (
    QUESTION,
    BackfillOptions,
    PlannedBackfill,
    begin,
    leave_end_open,
    survey,
)
from poller.cli.views.backfill import PlanReport, SummaryReport
from poller.cli.views.confirmation import confirm
from poller.cli.views.output import is_terminal, say, say_json
from poller.cli.views.progress import show_progress
from poller.cli.wiring.backfill import BackfillParts
from poller.core.errors import ConflictError
from poller.core.spans import LogCursor, is_of_catch_up
from poller.service.lifecycle.ending import finish
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.process import Process
from poller.service.slices.workers import SliceWorkers
from poller.service.upstream.retry import PATIENCE, retrying


def send_log(
    history: BackfillParts,
    process: Process,
    options: BackfillOptions,
    workers: Callable[..., SliceWorkers] = SliceWorkers,
) -> int:
    """Show the plan, ask, and send the events of the tenant's log."""
    for attempt in retrying(PATIENCE, process.stopping):
        with attempt:
            planned = survey(history.settings, history.ledger, history.services, options)
    _print(planned.report(), options)
    if options.dry_run:
        return _exit_code(planned)
    if planned.is_empty:
        if options.until is None:
            leave_end_open(history.ledger, planned.plan)
        return _exit_code(planned)
    confirm(QUESTION, is_answered=options.yes)
    return _LogRun(history, options, process, planned, workers).run()


def _exit_code(planned: PlannedBackfill) -> ExitCode:
    if planned.is_range_lost:
        return ExitCode.ATTENTION
    return ExitCode.DONE


def _print(report: PlanReport | SummaryReport, options: BackfillOptions) -> None:
    if options.as_json:
        say_json(report, indent=0)
    else:
        say(*report.lines())


_SHARED_PIECES = 4


@dataclass(frozen=True, slots=True)
class _LogRun:
    """One run over the tenant's log."""

    history: BackfillParts
    options: BackfillOptions
    process: Process
    planned: PlannedBackfill
    workers: Callable[..., SliceWorkers]

    def run(self) -> ExitCode:
        """Walk every slice, show the progress, and print the summary."""
        began, history, planned = time.monotonic(), self.history, self.planned
        # All slices are in the ledger before the first is walked. So a later run finds the slices
        # of this one, even if this one is killed.
        spans = self._begin()
        work = self.workers(
            history.walker,
            history.ledger,
            self.process,
            parallel=planned.parallel,
            identifies=history.identify_runner(self.process, begun_at=planned.begun_at),
        )
        log, limiter = history.settings.log, history.services.rate_limiter
        is_wanted = is_terminal(sys.stdout) and not self.options.as_json
        with show_progress(work, limiter, (log.level, log.format), is_wanted=is_wanted) as on_tick:
            reason = work.run(spans, on_tick)
        # The bars are gone now. Log lines would have torn them.
        code = finish(reason, self.process, interrupted=ExitCode.INTERRUPTED)
        summary = self._summary(work, time.monotonic() - began)
        _print(summary, self.options)
        if code == ExitCode.DONE and summary.needs_attention:
            return ExitCode.ATTENTION
        return code

    def _begin(self) -> list[LogCursor]:
        """Record every slice. If the ledger has changed since the plan was made, plan anew.

        Slices that were recorded before the conflict are unfinished ones of the new plan.
        """
        history, planned, is_open = self.history, self.planned, self.options.until is None
        for attempt in retrying(PATIENCE, self.process.stopping):
            with attempt:
                try:
                    spans = begin(history.ledger, planned.plan, self._pieces(), is_open=is_open)
                except ConflictError:
                    planned = survey(
                        history.settings, history.ledger, history.services, self.options
                    )
                    raise
        return spans

    def _pieces(self) -> int:
        """Return into how many slices to cut. A slice that is shared is never cut again."""
        return self.planned.parallel * (_SHARED_PIECES if self.options.share else 1)

    def _summary(self, work: SliceWorkers, seconds: float) -> SummaryReport:
        counts, progress = work.count.facts(), work.progress
        return SummaryReport(
            **{"newest_age_s": None} | counts,
            identified=progress.identified.sent,
            identify_left_out=progress.identified.left_out,
            pending_identifies=self.history.pending_identifies(),
            lost=work.lost,
            slices=progress.done,
            slices_left=self._slices_left(),
            rate_limited=self.history.services.rate_limiter.refused,
            seconds=round(seconds, 1),
        )

    def _slices_left(self) -> int:
        """Count the unfinished slices that lie in the range, also those of earlier runs.

        The slices of a catch-up are left out while a daemon runs, since the daemon walks them.
        """
        ledger, plan = self.history.ledger, self.planned.plan
        slices = [span for span in ledger.spans() if not span.is_live] + [*ledger.revisits()]
        if ledger.is_daemon_running():
            slices = [each for each in slices if not is_of_catch_up(each)]
        return sum(
            not each.is_done
            and each.until is not None
            and each.until > plan.since
            and each.reached < plan.until
            for each in slices
        )
