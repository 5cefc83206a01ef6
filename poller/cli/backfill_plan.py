"""What a backfill finds before it begins: the plan, and about how much it is."""

import contextlib
import itertools
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from poller.adapters.sql_ledger import SqlLedger
from poller.cli.options import Bound, position_of
from poller.cli.wiring.services import Services, rules_of, stream_of
from poller.config import Settings
from poller.core.errors import TransientError
from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.messages import iso
from poller.core.spans import LogCursor, LogRange
from poller.core.translation.translator import TrackTranslator
from poller.service.backfill.estimate import Estimate, estimate, parallelism
from poller.service.backfill.plan import Plan, cut_into_slices, plan

_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillOptions:
    """What the command line asks for."""

    since: Bound | None = None
    until: Bound | None = None
    parallel: int | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillPreview:
    """The plan of a run, `begun_at` by the server's clock; `awaiting` are users whom one before left to identify.

    `is_oldest_settled`: the oldest event that Auth0 keeps lies in a span.
    """

    plan: Plan
    estimate: Estimate | None
    parallel: int
    awaiting: int
    begun_at: datetime
    is_oldest_settled: bool = False

    @property
    def is_empty(self) -> bool:
        return self.plan.is_empty and not self.awaiting

    @property
    def is_gone(self) -> bool:
        """Whether there is nothing to do since retention removed the range, and what is kept was not settled."""
        return (
            self.is_empty
            and self.plan.is_cut_off
            and not self.plan.settled
            and not self.is_oldest_settled
        )

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        found, guess = self.plan, self.estimate
        seconds = guess.duration.total_seconds() if guess and guess.duration is not None else None
        return {
            "since": found.since,
            "until": found.until,
            "kept_from": found.oldest if found.is_cut_off else None,
            "settled": _listed(found.settled),
            "missing": _listed(found.missing),
            "unfinished": [
                {"reached": span.reached, "until": span.until} for span in found.unfinished
            ],
            "gaps": [{"after": gap.after, "before": gap.before} for gap in found.gaps],
            "again": _listed(found.again),
            "awaiting_identify": self.awaiting,
            "parallel": self.parallel,
            "estimate": {
                "events": guess.events,
                "of_interest": guess.of_interest,
                "requests": guess.requests,
                "seconds": None if seconds is None else round(seconds),
            }
            if guess
            else None,
        }

    def text(self) -> str:
        """For people."""
        found = self.plan
        lines = [f"range       {_when(found.since)} to {_when(found.until)}"]
        if found.is_cut_off and found.oldest:
            lines.append(
                f"retention   nothing older than {_when(found.oldest)} is kept: that is gone"
            )
        lines += _named("settled", found.settled)
        lines += _named("missing", found.missing)
        begun = [
            LogRange(after=span.reached, until=span.until)
            for span in found.unfinished
            if span.until
        ]
        lines += _named("unfinished", begun)
        lines += _named(
            "lost, found", [LogRange(after=gap.after, until=gap.before) for gap in found.gaps]
        )
        lines += _named("again", found.again)
        if self.awaiting:
            lines.append(f"identify    {self.awaiting} users of an earlier run await theirs")
        if self.estimate:
            lines.append(f"about       {_guessed(self.estimate)}, {self.parallel} slices at once")
        if self.is_gone:
            lines.append("nothing to do: nothing of the range is kept any more")
        elif self.is_empty and not found.is_cut_off and found.since == found.until:
            young = "nothing to do yet: the range is younger than poll.late_window"
            lines.append(f"{young}; the daemon sends it, or this command does later")
        elif self.is_empty:
            lines.append("nothing to do: every event of the range is settled")
        return "\n".join(lines)


def survey(
    settings: Settings, ledger: SqlLedger, services: Services, asked: BackfillOptions
) -> BackfillPreview:
    """Asks both the ledger and the log; `since` must be given.

    Raises:
        TransientError, FatalError: Auth0 or the ledger cannot answer.
    """
    services.tokens.current()  # so that it does not count as latency
    times = [time.monotonic()]
    oldest, now = services.log.oldest()
    times.append(time.monotonic())
    oldest, now = services.log.oldest()
    times.append(time.monotonic())
    latency_s = min(after - before for before, after in itertools.pairwise(times))
    live = ledger.live_span()
    newest = floor_id(now - settings.poll.late_window)
    if live is not None:
        # Up to where the daemon's own part begins, however young that is. What is sent again may
        # lie in that part.
        newest = max(newest, live.reached if asked.again else live.after)
    begin_at = newest if asked.since is None else position_of(asked.since, now)
    until = newest if asked.until is None else position_of(asked.until, now)
    if begin_at > floor_id(now):
        raise click.UsageError("--since lies in the future")
    if asked.until is not None and until <= begin_at:
        raise click.UsageError("--until lies before --since")
    spans = ledger.spans()
    found = plan(
        spans,
        begin_at,
        min(until, newest),
        oldest=oldest,
        revisits=ledger.revisits(),
        gaps=ledger.gaps(),
        is_again=asked.again,
    )
    parallel = asked.parallel or parallelism(services.rate_limiter.status("logs"), latency_s)
    guess = None if found.is_empty else _guess(settings, services, found, parallel, latency_s)
    awaiting = 0 if asked.no_identify else ledger.count_pending_identifies()
    is_settled = oldest is not None and any(span.after < oldest <= span.reached for span in spans)
    return BackfillPreview(
        plan=found,
        estimate=guess,
        parallel=parallel,
        awaiting=awaiting,
        begun_at=now,
        is_oldest_settled=is_settled,
    )


def _guess(
    settings: Settings, services: Services, found: Plan, parallel: int, latency_s: float
) -> Estimate | None:
    """A guess is not worth an end: where Auth0 has no room for it, the plan goes without."""
    with contextlib.suppress(TransientError):
        return estimate(
            found.ranges_to_read,
            services.log.sample,
            TrackTranslator(stream_of(settings), rules_of(settings)).is_of_interest,
            parallel=parallel,
            latency_s=latency_s,
            rate_limit=services.rate_limiter.status("logs"),
            messages_per_second=settings.segment.max_events_per_second,
        )
    return None


def leave_end_open(ledger: SqlLedger, found: Plan) -> None:
    """Let a first start of the daemon go on where this backfill ends, since no end was asked for.

    Where nothing is to be done, an end that an earlier backfill left open stays: less lies between.
    """
    if ledger.live_span() is None and not (found.is_empty and ledger.backfilled_until()):
        ledger.note_backfilled_until(found.until)


def begin(ledger: SqlLedger, found: Plan, pieces: int, *, is_open: bool) -> list[LogCursor]:
    """Record what is to be walked: what was begun before, and the slices that the rest is cut into.

    `is_open`: no end was asked for, so that nothing may be left between this backfill and the
    daemon, also where the daemon has started since the plan was made.

    Raises:
        ConflictError: the ledger has changed since the plan was made.
    """
    if is_open:
        leave_end_open(ledger, found)
    reopened = [ledger.reopen_gap(gap, found.oldest) for gap in found.gaps] if found.oldest else []
    missing = [*found.gone, *cut_into_slices(found.kept, pieces)]
    begun = [ledger.begin(after=stretch.after, until=stretch.until) for stretch in missing]
    again = ledger.begin_resends(
        [(stretch.after, stretch.until) for stretch in cut_into_slices(found.again, pieces)]
    )
    live = ledger.live_span() if is_open else None
    if live is not None and found.until < live.after:
        begun.append(ledger.begin(after=found.until, until=live.after))
    return [*found.unfinished, *reopened, *begun, *again]


def _listed(stretches: tuple[LogRange, ...]) -> list[dict[str, str]]:
    return [{"after": stretch.after, "until": stretch.until} for stretch in stretches]


def _named(name: str, stretches: list[LogRange] | tuple[LogRange, ...]) -> list[str]:
    lines = [
        f"{name:<12}{_when(stretch.after)} to {_when(stretch.until)}"
        for stretch in stretches[:_SHOWN]
    ]
    more = len(stretches) - _SHOWN
    return [*lines, f"{name:<12}and {more} more"] if more > 0 else lines


def _guessed(guess: Estimate) -> str:
    counts = f"{guess.events} events, {guess.of_interest} of interest, {guess.requests} requests"
    if guess.duration is None:
        return f"{counts}; how long depends on the tenant's rate limit"
    minutes = guess.duration / timedelta(minutes=1)
    return f"{counts}, {'under a minute' if minutes < 1 else f'{minutes:.0f} min'}"


def _when(log_id: LogId) -> str:
    found = moment_of(log_id)
    return iso(found) if found else log_id
