"""All pipelines of a folder in one table, the worst first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING

from poller.cli.views.check import CheckReport
from poller.cli.views.output import NOT_IN_JSON, say
from poller.cli.views.status import StatusReport, StreamReport
from poller.cli.views.wording import counted, lasting
from poller.service.lifecycle.exit_codes import ExitCode

if TYPE_CHECKING:  # `status` starts sooner without what the daemon needs
    from poller.service.observability.systemd import Condition

_WORST = (
    ExitCode.CONFIG,
    ExitCode.BUG,
    ExitCode.UNREACHABLE,
    ExitCode.ATTENTION,
    ExitCode.UNAVAILABLE,
    ExitCode.DONE,
)
_CHECKED = {
    ExitCode.CONFIG: "unusable",
    ExitCode.UNREACHABLE: "unreachable",
    ExitCode.ATTENTION: "attention",
}
_LIVE = {
    "blocked": ExitCode.CONFIG,
    "failed": ExitCode.CONFIG,
    "postponed": ExitCode.UNREACHABLE,
    "starting": ExitCode.UNAVAILABLE,
}
_COLOURS = {ExitCode.CONFIG: "red", ExitCode.ATTENTION: "red", ExitCode.DONE: None}


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineReport:
    """The state of one pipeline in a line.

    `state` is one word. `error` and `hint` are those of a pipeline that cannot be looked at.
    `report` is the whole report of the command on it. `cells` are the columns after the state.
    """

    pipeline: str
    state: str
    code: ExitCode
    error: str | None = None
    text: str | None = None
    hint: str | None = None
    report: object | None = None
    lateness_s: float = field(default=0.0, metadata=NOT_IN_JSON)
    cells: tuple[str, ...] = field(default=(), metadata=NOT_IN_JSON)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinesReport:
    """All pipelines of a folder, the worst first, and the exit code of the worst."""

    code: ExitCode
    pipelines: tuple[PipelineReport, ...]


def worst_first(reports: Iterable[PipelineReport]) -> PipelinesReport:
    """Return the reports in their order. Of two that are as bad, the one that is later is first."""
    ordered = sorted(
        reports, key=lambda each: (_WORST.index(each.code), -each.lateness_s, each.pipeline)
    )
    code = ordered[0].code if ordered else ExitCode.DONE
    return PipelinesReport(code=code, pipelines=tuple(ordered))


def unusable(pipeline: str, error: Exception) -> PipelineReport:
    """Return the line of a pipeline that cannot be looked at."""
    problems: Sequence[str] = getattr(error, "problems", (str(error),))
    code: str | None = getattr(error, "code", None)
    return PipelineReport(
        pipeline=pipeline,
        state="unusable" if code else "unreachable",
        code=ExitCode.CONFIG if code else ExitCode.UNREACHABLE,
        error=code,
        text="; ".join(problems),
        hint=getattr(error, "hint", None),
    )


def status_of(pipeline: str, report: StatusReport, *, strict: bool) -> PipelineReport:
    """Return the line of a pipeline from the state of its ledger. It has one stream at most."""
    stream = next(iter(report.streams), None)
    state, error = _condition(report, stream)
    if stream is None:
        lag_s, letters, gaps = None, 0, 0
    else:
        lag_s, letters, gaps = stream.lag_s, stream.dead_letters, len(stream.gaps)
    return PipelineReport(
        pipeline=pipeline,
        state=state,
        code=report.exit_code(strict=strict),
        error=error.code,
        text=error.text,
        hint=error.hint,
        report=report,
        lateness_s=lag_s or 0.0,
        cells=(
            "" if lag_s is None else f"lag {lasting(lag_s)}",
            counted(letters, "dead letter") if letters else "",
            counted(gaps, "gap") if gaps else "",
            str(stream.worker) if stream and stream.worker else "",
        ),
    )


def live_of(
    pipeline: str, condition: "Condition", problem: str | None, ages: Mapping[str, float | None]
) -> PipelineReport:
    """Return the line of a pipeline of this process. `problem` says why it is not ready, or None.

    `ages` are those of the metrics by name.
    """
    is_late = condition.kind == "running" and problem is not None
    freshness_s, backlog_s = ages.get("freshness_seconds"), ages.get("backlog_seconds")
    return PipelineReport(
        pipeline=pipeline,
        state="late" if is_late else condition.kind,
        code=ExitCode.ATTENTION if is_late else _LIVE.get(condition.kind, ExitCode.DONE),
        error=condition.code,
        text=problem if is_late else condition.reason,
        hint=condition.hint,
        lateness_s=freshness_s or 0.0,
        cells=(
            "" if freshness_s is None else f"freshness {lasting(freshness_s)}",
            f"backlog {lasting(backlog_s)}" if backlog_s else "",
        ),
    )


def check_of(pipeline: str, report: CheckReport) -> PipelineReport:
    """Return the line of a pipeline from what a check found. The first thing to mend is told."""
    state = next((word for code, word in _CHECKED.items() if code == report.code), "good")
    wrong = next((each for each in report.findings if not each.is_well), None)
    routes = next((each.text for each in report.findings if each.subject == "routes"), "")
    return PipelineReport(
        pipeline=pipeline,
        state=state,
        code=report.code,
        error=wrong.error if wrong else None,
        text=f"{wrong.subject}: {wrong.text}" if wrong else None,
        hint=wrong.hint if wrong else None,
        report=report,
        cells=(routes,),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Explanation:
    """The error that explains a state, as far as it is known."""

    text: str | None = None
    code: str | None = None
    hint: str | None = None


def _condition(report: StatusReport, stream: StreamReport | None) -> tuple[str, _Explanation]:
    """Return the state in a word, and the error that explains it."""
    ended, is_down = report.last_fatal_error, report.daemon is None
    if ended is not None and (is_down or report.is_failed):
        explanation = _Explanation(text=ended.error, code=ended.code, hint=ended.hint)
        return "ended" if is_down else "failed", explanation
    if is_down:
        return "down", _Explanation()
    if stream is None:
        return "new", _Explanation()
    blocked = stream.blocked
    if blocked is not None:
        return "blocked", _Explanation(text=blocked.reason, code=blocked.code, hint=blocked.hint)
    if stream.last_error:
        return "postponed", _Explanation(text=stream.last_error)
    return "running", _Explanation()


def show_pipelines(report: PipelinesReport) -> None:
    """Write the table, with a line below each pipeline that has an error to tell."""
    names = max((len(each.pipeline) for each in report.pipelines), default=0)
    states = max((len(each.state) for each in report.pipelines), default=0)
    columns = zip_longest(*(each.cells for each in report.pipelines), fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    for each in report.pipelines:
        cells = [f"{cell:<{width}}" for cell, width in zip(each.cells, widths, strict=False)]
        line = "  ".join([f"{each.pipeline:<{names}}", f"{each.state:<{states}}", *cells])
        say(line.rstrip(), fg=_COLOURS.get(each.code, "yellow"))
        if each.text:
            code = f"error[{each.error}]: " if each.error else ""
            say(f"    {code}{each.text}")
        if each.hint:
            say(f"    {each.hint}")
