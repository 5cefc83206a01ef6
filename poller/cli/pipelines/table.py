"""The pipelines of a folder in one table, for the commands that look at all of them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from poller.adapters.sql_ledger.places import place_of
from poller.cli.options import read_settings
from poller.cli.pipelines.pasting import completed, options_of
from poller.cli.settings_file import SettingsFile
from poller.cli.views.check import CheckReport
from poller.cli.views.output import say_json
from poller.cli.views.pipelines import (
    PipelineReport,
    check_of,
    show_pipelines,
    status_of,
    unusable,
    worst_first,
)
from poller.cli.views.status import DaemonReport, StatusReport, StreamReport
from poller.config import Settings, SettingsError
from poller.core.errors import FatalError, PollerError
from poller.core.events import Stream
from poller.service.lifecycle.exit_codes import ExitCode

Prepared = tuple[Stream, Callable[[], CheckReport]]
"""The stream of a pipeline, and the check of it."""
_AT_ONCE = 8
"""The pipelines that are checked at a time. A check mostly waits for answers."""


def show_table(folder: Path, lines: Iterable[PipelineReport], *, as_json: bool) -> ExitCode:
    """Write the lines, the worst first, and return the exit code of the worst."""
    report = worst_first(_pasted(folder, each) for each in lines)
    if as_json:
        say_json(report)
    else:
        show_pipelines(report)
    return report.code


def _pasted(folder: Path, line: PipelineReport) -> PipelineReport:
    if line.hint is None:
        return line
    return replace(line, hint=completed(line.hint, options_of(folder, line.pipeline)))


def claim(stream: Stream, name: str, holders: dict[Stream, str]) -> None:
    """Note that a pipeline has a stream.

    Raises:
        FatalError: another pipeline has it. Only one of them can run.
    """
    holder = holders.setdefault(stream, name)
    if holder != name:
        raise FatalError(
            f"the pipeline {name} names the tenant and the source of {holder}",
            code="settings-invalid",
            hint="remove one of the two, or give them different sources",
        )


def status_line(
    folder: Path,
    name: str,
    now: datetime,
    collect: Callable[[Settings, datetime], StatusReport],
    *,
    strict: bool,
) -> PipelineReport:
    """Return the state of a pipeline from its ledger, of which it may own one stream of several."""
    try:
        settings = read_settings(SettingsFile(folder, name), secrets=False)
        if not place_of(settings.state.url).exists():
            code = ExitCode.UNAVAILABLE if strict else ExitCode.DONE
            return PipelineReport(pipeline=name, state="new", code=code)
        report = collect(settings, now)
    except (SettingsError, PollerError) as error:
        return unusable(name, error)
    own = tuple(each for each in report.streams if _is_of(each, settings))
    report = replace(report, streams=own, daemon=_daemon_of(own, report))
    return status_of(name, report, strict=strict)


def _daemon_of(own: tuple[StreamReport, ...], report: StatusReport) -> DaemonReport | None:
    """Return the process that works on the pipeline. Workers each have some of the pipelines."""
    if not own or not any(each.worker for each in report.streams):
        return report.daemon
    worker = own[0].worker
    return DaemonReport(pid=worker.pid, since=worker.since) if worker else None


def _is_of(stream: StreamReport, settings: Settings) -> bool:
    # Not by `stream_of`: its module imports the clients, and `status` starts fast.
    segment = settings.segment
    names = (settings.auth0.domain, segment.source_name or "", segment.generation)
    return (stream.domain, stream.source_name, stream.generation) == names


def check_lines(
    folder: Path, names: Iterable[str], prepare: Callable[[SettingsFile], Prepared]
) -> Iterator[PipelineReport]:
    """Check the pipelines, several at a time. All that only root may read is read first."""
    checks: dict[str, Callable[[], CheckReport]] = {}
    holders: dict[Stream, str] = {}
    for name in names:
        try:
            stream, check = prepare(SettingsFile(folder, name))
            claim(stream, name, holders)
            checks[name] = check
        except (SettingsError, PollerError) as error:
            yield unusable(name, error)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(_checked, checks, checks.values())


def _checked(name: str, check: Callable[[], CheckReport]) -> PipelineReport:
    try:
        return check_of(name, check())
    except PollerError as error:
        return unusable(name, error)
