"""The pipelines of a folder in one table, for the commands that look at all of them."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import takewhile
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
from poller.config import (
    Settings,
    SettingsError,
    load_settings,
    pipeline_file,
    pipeline_names,
    read_pipeline,
)
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


def claim(folder: Path, stream: Stream, name: str, holders: dict[Stream, str]) -> None:
    """Note that a pipeline has a stream. Ask in the order of the names.

    Raises:
        FatalError: another pipeline has it. Only the first by name runs.
    """
    holder = holders.setdefault(stream, name)
    if holder != name:
        raise refusal_of_second(folder, name, holder)


def refusal_of_second(folder: Path, name: str, first: str) -> FatalError:
    """Return the error of a pipeline whose stream another pipeline of the folder has."""
    file, file_of_first = (pipeline_file(folder, each).name for each in (name, first))
    return FatalError(
        f"the pipeline {name} ({file}) names the tenant, the source and the generation of {first} "
        f"({file_of_first}). Only {first} runs, because its name comes first",
        code="settings-invalid",
        hint=f"give {name} or {first} another segment.source_name or segment.generation, or remove "
        "one of them. Then send SIGHUP",
    )


def refuse_second(file: SettingsFile) -> None:
    """Look whether `run` would refuse the one pipeline that is meant, for the sake of another one.

    Raises:
        SettingsError: the settings of the pipeline have a mistake.
        FatalError: a pipeline that comes before it names the same stream.
    """
    folder, own = file.folder, file.name
    if folder is None or own is None:
        return
    stream = stream_of(load_settings(file.content, os.environ, secrets=False))
    for name in takewhile(lambda each: each < own, pipeline_names(folder)):
        with suppress(SettingsError):
            other = load_settings(read_pipeline(folder, name), os.environ, secrets=False)
            if stream_of(other) == stream:
                raise refusal_of_second(folder, own, name)


def status_lines(
    folder: Path,
    names: Iterable[str],
    collect: Callable[[Settings], StatusReport],
    *,
    strict: bool,
) -> Iterator[PipelineReport]:
    """Yield the state of each pipeline from its ledger. Give the names in their order."""
    holders: dict[Stream, str] = {}
    for name in names:
        try:
            settings = read_settings(SettingsFile(folder, name), secrets=False)
            claim(folder, stream_of(settings), name, holders)
            yield _status_line(name, settings, collect, strict=strict)
        except (SettingsError, PollerError) as error:
            yield unusable(name, error)


def _status_line(
    name: str,
    settings: Settings,
    collect: Callable[[Settings], StatusReport],
    *,
    strict: bool,
) -> PipelineReport:
    """Return the state of a pipeline from its ledger, of which it may own one stream of several.

    Raises:
        PollerError: the ledger cannot be read.
    """
    if not place_of(settings.state.url).exists():
        code = ExitCode.UNAVAILABLE if strict else ExitCode.DONE
        return PipelineReport(pipeline=name, state="new", code=code)
    report, stream = collect(settings), stream_of(settings)
    own = tuple(each for each in report.streams if _is_of(each, stream))
    report = replace(report, streams=own, daemon=_daemon_of(own, report))
    return status_of(name, report, strict=strict)


def _daemon_of(own: tuple[StreamReport, ...], report: StatusReport) -> DaemonReport | None:
    """Return the process that works on the pipeline. Workers each have some of the pipelines."""
    if not own or not any(each.worker for each in report.streams):
        return report.daemon
    worker = own[0].worker
    return DaemonReport(pid=worker.pid, since=worker.since) if worker else None


def _is_of(report: StreamReport, stream: Stream) -> bool:
    names = (report.domain, report.source_name, report.generation)
    return names == (stream.domain, stream.source_name, stream.generation)


def stream_of(settings: Settings) -> Stream:
    """Return the stream of the settings: a tenant, a source and a generation."""
    # Not by `stream_of` of the wiring: its module imports the clients, and `status` starts fast.
    segment = settings.segment
    return Stream(
        domain=settings.auth0.domain,
        source_name=segment.source_name or "",
        generation=segment.generation,
    )


def check_lines(
    folder: Path, names: Iterable[str], prepare: Callable[[SettingsFile], Prepared]
) -> Iterator[PipelineReport]:
    """Check the pipelines, several at a time. All that only root may read is read first."""
    checks: dict[str, Callable[[], CheckReport]] = {}
    holders: dict[Stream, str] = {}
    for name in names:
        try:
            stream, check = prepare(SettingsFile(folder, name))
            claim(folder, stream, name, holders)
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
