"""The plan of a backfill: the ranges to send, the amount of work, and the first ledger entries."""

import contextlib
import itertools
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.cli.options import Bound, position_of
from poller.cli.views.backfill import PlanReport, plan_report
from poller.cli.wiring.services import Services, rules_of
from poller.config import Settings
from poller.core.errors import TransientError
from poller.core.log_ids import LogId, floor_id
from poller.core.spans import LogCursor, LogRange, Span, difference, settled_end
from poller.core.translation.translator import TrackTranslator
from poller.service.backfill.estimate import Estimate, estimate, parallelism
from poller.service.backfill.plan import Plan, plan
from poller.service.slices.slice import cut_into_slices

QUESTION = "Send what is not settled yet?"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillOptions:
    """The options of the command `backfill`."""

    since: Bound | None = None
    until: Bound | None = None
    parallel: int | None = None
    share: bool = False
    again: bool = False
    no_identify: bool = False
    integrations: dict[str, Any] | None = None
    dry_run: bool = False
    yes: bool = False
    new: bool = False
    as_json: bool = False
    files_from: Path | None = None
    settle_empty: bool = False
    any_tenant: bool = False
    read_again: bool = False
    record: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBackfill:
    """The plan of a run. `begun_at` is the time of Auth0's server.

    - `awaiting` is the number of users that an earlier run did not yet identify.
    - `is_oldest_settled` is true if the oldest event that Auth0 keeps lies in a span.
    - `is_too_young` is true if events of the whole range may still come in late.
    - `is_left_to_daemon` is true if the daemon has still to settle a part of the range.
    """

    plan: Plan
    estimate: Estimate | None
    parallel: int
    awaiting: int
    begun_at: datetime
    is_oldest_settled: bool = False
    is_left_to_daemon: bool = False
    is_too_young: bool = False

    @property
    def is_empty(self) -> bool:
        """Return whether there is nothing to do."""
        return self.plan.is_empty and not self.awaiting

    @property
    def is_range_lost(self) -> bool:
        """Return whether retention removed the whole range before it was sent."""
        plan = self.plan
        is_unsettled = not plan.settled and not self.is_oldest_settled
        return self.is_empty and plan.is_cut_off and is_unsettled

    def report(self) -> PlanReport:
        """Return the report of the plan, which the command prints as JSON or as text."""
        return plan_report(
            self.plan,
            self.estimate,
            parallel=self.parallel,
            awaiting=self.awaiting,
            nothing_to_do=self._nothing_to_do(),
        )

    def _nothing_to_do(self) -> str:
        """Return the reason why there is nothing to do, or an empty text."""
        if not self.is_empty:
            return ""
        if self.is_range_lost:
            return "Auth0 no longer keeps any event of the range"
        if self.is_left_to_daemon and self.plan.settled:
            return "the rest of the range belongs to the daemon, which sends it"
        if self.is_left_to_daemon:
            return "the range belongs to the daemon, which sends it"
        if self.is_too_young:
            return "the range is younger than poll.late_window. Run this command again later"
        return "every event of the range is settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class _LogBounds:
    """The oldest event of the log, the time of the server, and the duration of a request."""

    oldest: LogId | None
    now: datetime
    latency_s: float


def survey(
    settings: Settings, ledger: SqlLedger, services: Services, options: BackfillOptions
) -> PlannedBackfill:
    """Compare the range with the ledger and the log, and return the plan.

    Raises:
        UsageError: the range begins in the future, or `--until` does not lie after `--since`.
        TransientError, FatalError: Auth0 or the ledger cannot answer.
    """
    bounds = _measure(services)
    since, until = _range(settings, ledger, bounds.now, options)
    spans = ledger.spans()
    work = plan(
        spans,
        since,
        until,
        oldest=bounds.oldest,
        revisits=ledger.revisits(),
        gaps=ledger.gaps(),
        begun_after=ledger.begun_after(),
        is_again=options.again,
    )
    if ledger.is_daemon_running():
        work = work.without_catch_up()
    parallel = options.parallel or parallelism(
        services.rate_limiter.status("logs"), bounds.latency_s
    )
    oldest = bounds.oldest
    return PlannedBackfill(
        plan=work,
        estimate=_estimate(settings, ledger, services, work, parallel, bounds.latency_s),
        parallel=parallel,
        awaiting=0 if options.no_identify else ledger.count_pending_identifies("backfill"),
        begun_at=bounds.now,
        is_oldest_settled=oldest is not None
        and any(span.after < oldest <= span.reached for span in spans),
        is_too_young=since >= until,
        is_left_to_daemon=bool(work.catching_up)
        or any(span.is_live and (since >= until or settled_end(span) < until) for span in spans),
    )


def _measure(services: Services) -> _LogBounds:
    """Return the bounds of the log and the duration of a request.

    It asks twice, because the first request also opens the connection.
    """
    services.tokens.current()  # A token that is fetched now does not count as latency.
    times = [time.monotonic()]
    for _ in range(2):
        oldest, now = services.log.oldest_kept()
        times.append(time.monotonic())
    latency_s = min(after - before for before, after in itertools.pairwise(times))
    return _LogBounds(oldest=oldest, now=now, latency_s=latency_s)


def _range(
    settings: Settings, ledger: SqlLedger, now: datetime, options: BackfillOptions
) -> tuple[LogId, LogId]:
    """Return both ends of the range.

    The range ends at the latest at `late_window` before now, or where the live span begins,
    whichever is later. With `--again` it may go on up to the position of the daemon. `plan` cuts
    off what the live span owns.
    """
    highest_end = floor_id(now - settings.poll.late_window)
    live = ledger.live_span()
    if live is not None:
        highest_end = max(highest_end, live.reached if options.again else live.after)
    since = highest_end if options.since is None else position_of(options.since, now)
    until = highest_end if options.until is None else position_of(options.until, now)
    if since > floor_id(now):
        raise click.UsageError("--since lies in the future")
    if options.until is not None and until <= since:
        raise click.UsageError("--until must lie after --since")
    return since, min(until, highest_end)


def _estimate(
    settings: Settings,
    ledger: SqlLedger,
    services: Services,
    work: Plan,
    parallel: int,
    latency_s: float,
) -> Estimate | None:
    """Return an estimate, or None if the rate limit allows no sample now.

    The plan is useful even without an estimate.
    """
    if work.is_empty:
        return None
    with contextlib.suppress(TransientError):
        return estimate(
            work.ranges_to_read,
            services.log.sample,
            TrackTranslator(ledger.stream, rules_of(settings)).is_of_interest,
            parallel=parallel,
            latency_s=latency_s,
            rate_limit=services.rate_limiter.status("logs"),
            messages_per_second=settings.segment.max_messages_per_second,
        )
    return None


def leave_end_open(ledger: SqlLedger, work: Plan) -> None:
    """Let the first start of the daemon begin where this backfill ends.

    Call it only for a backfill without `--until`. A backfill with nothing to do keeps the end that
    an earlier backfill left, because that end is lower and leaves no hole.
    """
    if ledger.live_span() is None and not (work.is_empty and ledger.backfilled_until()):
        ledger.note_backfilled_until(work.until)


def begin(ledger: SqlLedger, work: Plan, pieces: int, *, is_open: bool) -> list[LogCursor]:
    """Record every slice in the ledger, and return the slices.

    The slices are the unfinished slices of earlier runs, the gaps that can be read after all, and
    the new slices, which cut the missing ranges into `pieces`. `is_open` is true if the backfill
    has no `--until`. Then nothing may be left between the backfill and the live span, even if the
    daemon has started since the plan was made.

    Raises:
        ConflictError: the ledger has changed since the plan was made.
    """
    if is_open:
        leave_end_open(ledger, work)
    reopened = [ledger.reopen_gap(gap, work.oldest) for gap in work.gaps] if work.oldest else []
    missing = [*work.gone, *cut_into_slices(work.kept, pieces)]
    begun = [ledger.begin(after=each.after, until=each.until) for each in missing]
    again = ledger.begin_resends(
        [(each.after, each.until) for each in cut_into_slices(work.again, pieces)]
    )
    if is_open:
        begun += _begin_up_to_daemon(ledger, work.until)
    return [*work.unfinished, *reopened, *begun, *again]


def _begin_up_to_daemon(ledger: SqlLedger, after: LogId) -> list[Span]:
    """Begin a slice for each part between `after` and the live span that belongs to no span."""
    spans = ledger.spans()
    lives = [LogRange(after=after, until=span.after) for span in spans if span.is_live]
    owned = [LogRange(after=span.after, until=span.until) for span in spans if span.until]
    return [ledger.begin(after=each.after, until=each.until) for each in difference(lives, owned)]
