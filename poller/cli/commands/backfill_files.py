"""`backfill --from-file`: logins and signups from files of log events, beyond what the tenant keeps."""

import contextlib
import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import structlog

from poller.adapters.log_files import LogFile, MarkIndex, Refusals
from poller.cli.backfill_plan import BackfillOptions
from poller.cli.options import position_of
from poller.cli.views.output import is_terminal, say, say_json
from poller.cli.wiring.backfill import BackfillParts
from poller.cli.wiring.file_sources import STANDARD_INPUT, FileSource, file_sources
from poller.cli.wiring.services import profiles_of
from poller.core.errors import FatalError, TransientError
from poller.core.file_pages import UnreadableFileError
from poller.core.log_ids import EARLIEST
from poller.core.messages import iso
from poller.service.backfill.file_counts import FileCount
from poller.service.backfill.file_selection import EventChooser, RangeFilter, RecentIds
from poller.service.backfill.file_walk import FileWalk
from poller.service.backfill.file_workers import FileBackfill
from poller.service.lifecycle.ending import finish
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.lifecycle.process import Process

PARALLEL = 4
"""Files read at once, unless told otherwise."""
_TELL_EVERY_S = 5.0
_SUMS = (
    "read",
    "forwarded",
    "filtered",
    "dead_lettered",
    "skipped",
    "repeated",
    "outside",
    "bad_records",
    "texts",
    "redated",
)

log = structlog.get_logger()


def check_files(paths: Sequence[Path], listed: Path | None, *, from_file: bool) -> None:
    """Raises:
    UsageError: files without the option, or the option without files.
    """
    if from_file != bool(paths or listed):
        raise click.UsageError(
            "--from-file goes with the files to read, and files go with --from-file"
        )
    missing = next((path for path in paths if path != STANDARD_INPUT and not path.exists()), None)
    if missing is not None:
        raise click.UsageError(f"{missing} is no file and no folder")
    if STANDARD_INPUT in paths and listed == STANDARD_INPUT:
        raise click.UsageError("standard input is either a file or the list of files")


def send_files(
    history: BackfillParts, process: Process, asked: BackfillOptions, paths: Sequence[Path]
) -> int:
    """Shows what the files are, asks, and sends what of them is not settled; returns the exit code."""
    reads_input = STANDARD_INPUT in {*paths, asked.files_from}
    with file_sources(paths, asked.files_from) as sources:
        return _FileRun(history, process, asked).run(sources, may_ask=not reads_input)


class _FileRun:
    """One backfill from files, bound together."""

    def __init__(self, history: BackfillParts, process: Process, asked: BackfillOptions) -> None:
        self._history = history
        self._process = process
        self._asked = asked
        self._begun_at = history.services.clock.now()
        self._wanted = _range(self._begun_at, asked)

    def run(self, sources: Sequence[FileSource], *, may_ask: bool) -> int:
        asked = self._asked
        index = MarkIndex(self._history.ledger.file_marks())
        files = [self._file(source) for source in sources]
        plan = list(_looked(files, index))
        say_json({"files": plan}, indent=0) if asked.as_json else say(*map(_planned, plan))
        if asked.dry_run:
            return ExitCode.DONE
        if not asked.yes and may_ask and is_terminal(sys.stdin):
            click.confirm("Send what is not settled yet?", abort=True, err=True)
        return self._send(files, index)

    def _file(self, source: FileSource) -> LogFile:
        asked, services = self._asked, self._history.services
        domain = None if asked.any_tenant else self._history.settings.auth0.domain
        return LogFile(
            source.path,
            name=source.name,
            now=services.clock.now,
            believed=services.clock.agreed,
            scope=_scope(self._wanted),
            refusals=Refusals(domain=domain, only_codes=not asked.settle_empty),
            is_again=asked.read_again,
        )

    def _send(self, files: Sequence[LogFile], index: MarkIndex) -> int:
        history, process = self._history, self._process
        with contextlib.suppress(TransientError, FatalError):
            history.services.tokens.current()  # The answer tells the server's time before the first event is judged.
        recent = RecentIds()
        work = FileBackfill(
            files,
            lambda: self._walk(recent),
            lambda: index,
            process,
            parallel=self._asked.parallel or PARALLEL,
            identifies=history.identifying(process, begun_at=self._begun_at),
            settled=lambda page: index.move(page.moves, page.end),
        )
        code: int = finish(work.run(), process, interrupted=ExitCode.INTERRUPTED)
        awaiting = history.awaiting()
        _tell(work.counts, awaiting, as_json=self._asked.as_json)
        if code == ExitCode.INTERRUPTED:
            say("interrupted; the same command goes on from there", is_error=True)
        is_well = not awaiting and all(_is_well(count) for count in work.counts)
        return code if code != ExitCode.DONE or is_well else ExitCode.ATTENTION

    def _walk(self, recent: RecentIds) -> FileWalk:
        history = self._history
        return FileWalk(
            profiles=profiles_of(history.settings, history.services),
            translator=history.translator(),
            sender=history.sender(),
            ledger=history.ledger,
            chooser=EventChooser(history.ledger, self._wanted, recent),
            stopping=self._process.stopping,
            settles_empty=self._asked.settle_empty,
        )


def _is_well(count: FileCount) -> bool:
    return count.is_done and not count.bad_records and not count.is_all_dead


def _looked(files: Sequence[LogFile], index: MarkIndex) -> Iterator[dict[str, Any]]:
    """The plan of each file; says how far it is, since a thousand files take a while."""
    told_at = time.monotonic()
    for number, file in enumerate(files):
        if time.monotonic() - told_at >= _TELL_EVERY_S:
            told_at = time.monotonic()
            log.info("files.examined", files=len(files), files_done=number)
        yield _look(file, index)


def _range(now: datetime, asked: BackfillOptions) -> RangeFilter:
    since = None if asked.since in {None, EARLIEST} else position_of(asked.since, now)
    return RangeFilter(
        since=since, until=None if asked.until is None else position_of(asked.until, now)
    )


def _scope(wanted: RangeFilter) -> str:
    """Names the range, so that a file of which a part was sent is not taken for one that was sent whole."""
    if wanted == RangeFilter():
        return ""
    return hashlib.sha256(f"{wanted.since} {wanted.until}".encode()).hexdigest()[:8]


def _look(file: LogFile, index: MarkIndex) -> dict[str, Any]:
    try:
        summary = file.summarize(index)
    except UnreadableFileError as error:
        return {"file": file.name, "problem": str(error)}
    return {
        "file": file.name,
        "size": summary.size,
        "kind": summary.kind,
        "gzip": summary.is_compressed,
        "offset": summary.settled.offset,
        "line": summary.settled.line,
        "first": iso(summary.first) if summary.first else None,
        "last": iso(summary.last) if summary.last else None,
        "problem": None,
    }


def _planned(facts: dict[str, Any]) -> str:
    if facts["problem"]:
        return f"{facts['file']}: {facts['problem']}"
    kind = f"{facts['kind']}, gzip" if facts["gzip"] else facts["kind"]
    begin = f"settled up to line {facts['line']}" if facts["offset"] else "nothing settled yet"
    times = f"; events from {facts['first'] or '?'} to {facts['last'] or '?'}"
    return f"{facts['file']}: {facts['size'] / 1e6:,.1f} MB ({kind}), {begin}{times}"


def _tell(counts: Sequence[FileCount], awaiting: int, *, as_json: bool) -> None:
    """A line for each file, then their sum."""
    total = {name: sum(getattr(count, name) for count in counts) for name in _SUMS}
    total |= {"files": len(counts), "files_left": sum(not count.is_done for count in counts)}
    total |= {"awaiting_identify": awaiting}
    for count in counts:
        facts = count.facts()
        say_json(facts, indent=0) if as_json else say(
            f"{count.file}: {_counted(facts)}{_state(count)}"
        )
    if as_json or len(counts) > 1:
        say_json(total, indent=0) if as_json else say(f"{total['files']} files: {_counted(total)}")
    if awaiting and not as_json:
        say(f"{awaiting} users await their identify: run it again to go on")


def _counted(facts: dict[str, Any]) -> str:
    """The counts in words; those that are rarely anything only where they are something."""
    always = _SUMS[:4]
    shown = [name for name in _SUMS if name in always or facts[name]]
    return ", ".join(
        f"{facts[name]} {name.replace('_', '-' if name in always else ' ')}" for name in shown
    )


def _state(count: FileCount) -> str:
    return _types(count) + _progress(count)


def _types(count: FileCount) -> str:
    named = ", ".join(f"{name} {number} times" for name, number in count.unknown_types.items())
    return f"; types that Auth0 has not published: {named}" if named else ""


def _progress(count: FileCount) -> str:
    if count.problem:
        return f"; {count.problem}"
    return "" if count.is_done else f"; settled up to line {count.line}: run it again to go on"
