"""`backfill --from-file`: send logins and signups from files of log events.

Files may be older than the log that the tenant keeps.
"""

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import click
import structlog

from poller.adapters.log_files import LogFile, MarkIndex, Refusals, by_expression, unwrapped
from poller.cli.backfill_plan import QUESTION, BackfillOptions
from poller.cli.options import position_of
from poller.cli.views.backfill_files import (
    FilePlan,
    FilesPlan,
    UnreadableFile,
    count_line,
    total_lines,
    total_of,
)
from poller.cli.views.confirmation import confirm
from poller.cli.views.output import say, say_json
from poller.cli.wiring.backfill import BackfillParts
from poller.cli.wiring.file_sources import STANDARD_INPUT, FileSource, file_sources
from poller.cli.wiring.services import profiles_of
from poller.core.errors import FatalError, TransientError
from poller.core.file_pages import UnreadableFileError
from poller.core.log_ids import EARLIEST
from poller.service.backfill.file_counts import FileCount
from poller.service.backfill.file_selection import EventChooser, RangeFilter, RecentIds
from poller.service.backfill.file_walk import FileWalk
from poller.service.backfill.file_workers import FileBackfill
from poller.service.lifecycle.ending import finish
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.process import Process

PARALLEL_FILES = 4
"""The files that are read at once by default."""
_LOG_INTERVAL_S = 5.0

log = structlog.get_logger()


def check_files(
    paths: Sequence[Path], listed: Path | None, record: str | None, *, from_file: bool
) -> None:
    """Check that files and the options about them go together.

    Raises:
        UsageError: one is given without the other, a path does not exist, or the expression for
            the record is not JMESPath.
    """
    if record is not None:
        try:
            by_expression(record)
        except ValueError as error:
            raise click.UsageError(f"--record is not a JMESPath expression: {error}") from None
    if from_file != bool(paths or listed):
        raise click.UsageError("--from-file needs files to read, and files need --from-file")
    missing = next((path for path in paths if path != STANDARD_INPUT and not path.exists()), None)
    if missing is not None:
        raise click.UsageError(f"{missing} is neither a file nor a folder")
    if STANDARD_INPUT in paths and listed == STANDARD_INPUT:
        raise click.UsageError("standard input can be a file or the list of files, but not both")


def send_files(
    history: BackfillParts, process: Process, options: BackfillOptions, paths: Sequence[Path]
) -> ExitCode:
    """Show the plan, ask, send the events that are not settled, and show the counts."""
    with file_sources(paths, options.files_from) as sources:
        return _FileRun(history, process, options).run(sources)


class _FileRun:
    """One backfill from files."""

    def __init__(self, history: BackfillParts, process: Process, options: BackfillOptions) -> None:
        self._history = history
        self._process = process
        self._options = options
        self._begun_at = history.services.clock.now()
        self._wanted = _range(self._begun_at, options)

    def run(self, sources: Sequence[FileSource]) -> ExitCode:
        """Run the backfill."""
        options = self._options
        index = MarkIndex(self._history.ledger.file_marks())
        files = [self._file(source) for source in sources]
        plan = FilesPlan(files=tuple(_plan_files(files, index)))
        if options.as_json:
            say_json(plan, indent=0)
        else:
            say(*plan.lines())
        if options.dry_run:
            return ExitCode.DONE
        confirm(QUESTION, is_answered=options.yes)
        return self._send(files, index)

    def _file(self, source: FileSource) -> LogFile:
        options, services = self._options, self._history.services
        domain = None if options.any_tenant else self._history.settings.auth0.domain
        return LogFile(
            source.path,
            name=source.name,
            now=services.clock.now,
            believed=services.clock.agreed,
            scope=_scope(self._wanted, options.record),
            unwrap=by_expression(options.record) if options.record else unwrapped,
            refusals=Refusals(domain=domain, only_codes=not options.settle_empty),
            is_again=options.read_again,
        )

    def _send(self, files: Sequence[LogFile], index: MarkIndex) -> ExitCode:
        history, process = self._history, self._process
        with contextlib.suppress(TransientError, FatalError):
            # The answer holds the server's time, which is needed to judge the first event.
            history.services.tokens.current()
        recent = RecentIds()
        work = FileBackfill(
            files,
            lambda: self._walk(recent),
            lambda: index,
            process,
            parallel=self._options.parallel or PARALLEL_FILES,
            identifies=history.identify_runner(process, begun_at=self._begun_at),
            settled=lambda page: index.move(page.moves, page.end),
        )
        code = finish(work.run(), process, interrupted=ExitCode.INTERRUPTED)
        awaiting = history.pending_identifies()
        _show_counts(work.counts, awaiting, as_json=self._options.as_json)
        if code == ExitCode.INTERRUPTED:
            say("interrupted: run the same command again to continue", is_error=True)
        is_good = not awaiting and all(_is_good(count) for count in work.counts)
        if code == ExitCode.DONE and not is_good:
            return ExitCode.ATTENTION
        return code

    def _walk(self, recent: RecentIds) -> FileWalk:
        history = self._history
        return FileWalk(
            profiles=profiles_of(history.settings, history.services),
            translator=history.translator(),
            sender=history.sender(),
            ledger=history.ledger,
            chooser=EventChooser(history.ledger, self._wanted, recent),
            stopping=self._process.stopping,
            settles_empty=self._options.settle_empty,
        )


def _is_good(count: FileCount) -> bool:
    return count.is_done and not count.bad_records and not count.is_all_dead


def _plan_files(files: Sequence[LogFile], index: MarkIndex) -> Iterator[FilePlan | UnreadableFile]:
    """Yield the plan of each file. Log the progress, because a thousand files take a while."""
    logged_at = time.monotonic()
    for number, file in enumerate(files):
        if time.monotonic() - logged_at >= _LOG_INTERVAL_S:
            logged_at = time.monotonic()
            log.info("files.examined", files=len(files), files_done=number)
        yield _plan_file(file, index)


def _plan_file(file: LogFile, index: MarkIndex) -> FilePlan | UnreadableFile:
    try:
        summary = file.summarize(index)
    except UnreadableFileError as error:
        return UnreadableFile(file=file.name, problem=str(error))
    return FilePlan(
        file=file.name,
        size=summary.size,
        kind=summary.kind,
        gzip=summary.is_compressed,
        offset=summary.settled.offset,
        line=summary.settled.line,
        first=summary.first,
        last=summary.last,
    )


def _range(now: datetime, options: BackfillOptions) -> RangeFilter:
    since = None if options.since in {None, EARLIEST} else position_of(options.since, now)
    until = None if options.until is None else position_of(options.until, now)
    return RangeFilter(since=since, until=until)


def _scope(wanted: RangeFilter, record: str | None) -> str:
    """Return a name of the part that is read, so that a part does not count as the whole file.

    Another expression for the record reads other events in the same file.
    """
    if wanted == RangeFilter() and record is None:
        return ""
    expression = f" {record}" if record else ""
    scope = f"{wanted.since} {wanted.until}{expression}"
    return hashlib.sha256(scope.encode()).hexdigest()[:8]


def _show_counts(counts: Sequence[FileCount], awaiting: int, *, as_json: bool) -> None:
    """Show a line for each file, and the sums."""
    total = total_of(counts, awaiting)
    if as_json:
        for report in (*counts, total):
            say_json(report, indent=0)
    else:
        say(*map(count_line, counts), *total_lines(total))
