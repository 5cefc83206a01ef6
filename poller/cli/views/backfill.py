"""The reports of `backfill`: the plan before the work, and the summary after it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from poller.cli.views.output import NOT_IN_JSON
from poller.cli.views.wording import counted, lasting, moment_text
from poller.core.log_ids import LogId
from poller.core.spans import LogRange
from poller.service.backfill.estimate import Estimate
from poller.service.backfill.plan import Plan

_MOST_RANGES = 12
"""The most ranges of one kind that the text names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateReport:
    """The amount of work, by samples. `seconds` is None if the duration cannot be estimated."""

    events: int
    of_interest: int
    requests: int
    seconds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedReport:
    """A span that an earlier backfill left unfinished."""

    reached: LogId
    until: LogId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GapReport:
    """A gap that can be read after all."""

    after: LogId
    before: LogId


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanReport:
    """The plan of a backfill, for JSON and text.

    `kept_from` is the oldest event of the log if the range begins below it. `nothing_to_do` is the
    reason why there is nothing to do, or empty.
    """

    since: LogId
    until: LogId
    kept_from: LogId | None
    settled: tuple[LogRange, ...]
    missing: tuple[LogRange, ...]
    unfinished: tuple[UnfinishedReport, ...]
    gaps: tuple[GapReport, ...]
    again: tuple[LogRange, ...]
    catching_up: tuple[LogRange, ...]
    pending_identifies: int
    parallel: int
    estimate: EstimateReport | None
    nothing_to_do: str = field(default="", metadata=NOT_IN_JSON)

    def lines(self) -> list[str]:
        """Return the lines of the text."""
        lines = [f"range       {moment_text(self.since)} to {moment_text(self.until)}"]
        if self.kept_from:
            oldest = moment_text(self.kept_from)
            lines.append(f"retention   events before {oldest} are no longer kept")
        lines += _range_lines("settled", self.settled)
        lines += _range_lines("missing", self.missing)
        unfinished = [(each.reached, each.until or each.reached) for each in self.unfinished]
        lines += _bounds_lines("unfinished", unfinished)
        lines += _bounds_lines("lost, found", [(gap.after, gap.before) for gap in self.gaps])
        lines += _range_lines("again", self.again)
        lines += [
            f"{line}: the daemon is catching up this part"
            for line in _range_lines("daemon", self.catching_up)
        ]
        if self.pending_identifies:
            users = counted(self.pending_identifies, "user")
            lines.append(f"identify    still due for {users} of an earlier run")
        if self.estimate:
            slices = counted(self.parallel, "slice")
            lines.append(f"about       {_estimate_text(self.estimate)}, with {slices} at once")
        if self.nothing_to_do:
            lines.append(f"nothing to do: {self.nothing_to_do}")
        return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class SummaryReport:
    """The result of a backfill of the tenant's log, for JSON and text."""

    pages: int
    read: int
    filtered: int
    forwarded: int
    dead_lettered: int
    redated: int
    newest_age_s: float | None
    identified: int
    identify_left_out: int
    pending_identifies: int
    lost: int
    slices: int
    slices_left: int
    rate_limited: int
    seconds: float

    @property
    def needs_attention(self) -> bool:
        """Return whether work is left, or events were lost."""
        return bool(self.slices_left or self.pending_identifies or self.lost)

    def lines(self) -> list[str]:
        """Return the lines of the text."""
        outcomes = f"{self.filtered} filtered, {self.forwarded} forwarded"
        left_out = f"{self.identify_left_out} left out because they are known or deleted"
        limited = f"{self.rate_limited} answers of 429"
        lines = [
            f"events      {self.read} read, {outcomes}, {self.dead_lettered} dead-lettered",
            f"identified  {counted(self.identified, 'user')}, and {left_out}",
            f"slices      {self.slices} finished, {self.slices_left} not finished",
            f"time        {lasting(self.seconds)}{self._speed()}, {limited}",
        ]
        if self.redated:
            lines.append(
                f"dates       {self.redated} could not be true, and the time in the log id was sent"
            )
        if self.lost:
            lines.append(
                f"lost        {counted(self.lost, 'range')} that retention removed unread: "
                "`status` shows the gaps"
            )
        if self.slices_left or self.pending_identifies:
            lines.append("not finished: run the same command again to continue")
        return lines

    def _speed(self) -> str:
        if self.seconds:
            return f", {self.read / self.seconds:.0f} events/s"
        return ""


def plan_report(
    plan: Plan, guess: Estimate | None, *, parallel: int, awaiting: int, nothing_to_do: str
) -> PlanReport:
    """Return the report of a plan."""
    return PlanReport(
        since=plan.since,
        until=plan.until,
        kept_from=plan.oldest if plan.is_cut_off else None,
        settled=plan.settled,
        missing=plan.missing,
        unfinished=tuple(
            UnfinishedReport(reached=span.reached, until=span.until) for span in plan.unfinished
        ),
        gaps=tuple(GapReport(after=gap.after, before=gap.before) for gap in plan.gaps),
        again=plan.again,
        catching_up=plan.catching_up,
        pending_identifies=awaiting,
        parallel=parallel,
        estimate=_estimate_report(guess),
        nothing_to_do=nothing_to_do,
    )


def _estimate_report(guess: Estimate | None) -> EstimateReport | None:
    if guess is None:
        return None
    seconds = None if guess.duration is None else round(guess.duration.total_seconds())
    return EstimateReport(
        events=guess.events,
        of_interest=guess.of_interest,
        requests=guess.requests,
        seconds=seconds,
    )


def _range_lines(name: str, ranges: Sequence[LogRange]) -> list[str]:
    return _bounds_lines(name, [(each.after, each.until) for each in ranges])


def _bounds_lines(name: str, bounds: Sequence[tuple[LogId, LogId]]) -> list[str]:
    lines = [
        f"{name:<12}{moment_text(begin)} to {moment_text(end)}"
        for begin, end in bounds[:_MOST_RANGES]
    ]
    more = len(bounds) - _MOST_RANGES
    if more > 0:
        return [*lines, f"{name:<12}and {more} more"]
    return lines


def _estimate_text(guess: EstimateReport) -> str:
    counts = (
        f"{guess.events} events, {guess.of_interest} logins and signups, {guess.requests} requests"
    )
    if guess.seconds is None:
        return f"{counts}, in a time that depends on the tenant's rate limit"
    minutes = guess.seconds / timedelta(minutes=1).total_seconds()
    return f"{counts}, " + ("under a minute" if minutes < 1 else f"{minutes:.0f} min")
