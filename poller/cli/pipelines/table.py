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
    folder_of,
    load_settings,
    pipeline_file,
    pipeline_names,
    read_pipeline,
    without_settings,
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

    The name of a source is not known if it comes from a write key that cannot be read.

    Raises:
        FatalError: another pipeline has it. Only the first by name runs.
    """
    holder = holders.setdefault(stream, name) if stream.source_name else name
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
        "one of them. Then send SIGHUP, or start the program again",
    )


def refuse_second(file: SettingsFile) -> None:
    """Look whether another pipeline of the folder keeps the one that is meant from running.

    The command may name the folder, or the file in it. Call it before root becomes the owner of the
    ledger, who may not read the other files. A file with a mistake is passed over.

    Raises:
        FatalError: a pipeline that comes before it names the same stream.
    """
    folder = folder_of(file.path) if file.path else None
    if file.path is None or folder is None:
        return
    own = file.name or file.path.stem
    with suppress(SettingsError):
        stream = stream_of(load_settings(file.content, os.environ, secrets=False))
        for name in takewhile(lambda each: each < own, pipeline_names(folder)):
            if stream.source_name and _stream_by_files(folder, name) == stream:
                raise refusal_of_second(folder, own, name)


def _stream_by_files(folder: Path, name: str) -> Stream | None:
    """Return the stream that the files of a pipeline name, or None if they have a mistake.

    The environment of this process holds the secrets of another pipeline.
    """
    environ = without_settings(os.environ)
    with suppress(SettingsError):
        return stream_of(load_settings(read_pipeline(folder, name), environ, secrets=False))
    return None


def refuse_second_of_file(file: SettingsFile) -> None:
    """Look at the rest of the folder if the command names a file with routes in it."""
    if file.path and file.path.is_file():
        refuse_second(file)


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
            file = SettingsFile(folder, name)
            refuse_second_of_file(file)
            settings = read_settings(file, secrets=False)
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
            file = SettingsFile(folder, name)
            refuse_second_of_file(file)
            stream, check = prepare(file)
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
