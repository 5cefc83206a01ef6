"""`backfill --from-file`: logins and signups from files of log events, beyond what the tenant keeps."""

import contextlib
import hashlib
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from poller.adapters.log_files import LogFile
from poller.adapters.sql_ledger import SqlLedger
from poller.cli.bounds import position_of
from poller.cli.history import History
from poller.cli.output import is_terminal, say, say_json
from poller.cli.run import finish
from poller.cli.survey import Asked
from poller.cli.wiring import Services, profiles_of
from poller.core.errors import FatalError, TransientError
from poller.core.events import EARLIEST
from poller.core.files import UnreadableFileError
from poller.core.messages import iso
from poller.service.file_backfill import FileBackfill, FileCount
from poller.service.files import FileWalk, Range, Recent
from poller.service.process import Exit, Process

PARALLEL = 4
"""Files read at once, unless told otherwise."""
_CLOCKS_AGREE_WITHIN = timedelta(minutes=5)
_SUMS = (
    "read",
    "forwarded",
    "filtered",
    "dead_lettered",
    "skipped",
    "repeated",
    "outside",
    "bad_records",
    "redated",
)


def check_files(paths: Sequence[Path], *, from_file: bool) -> None:
    """Raises:
    UsageError: files without the option, or the option without files that are there.
    """
    if from_file != bool(paths):
        raise click.UsageError("--from-file goes with the files to read, and files go with --from-file")
    missing = next((path for path in paths if not path.is_file()), None)  # nor can a pipe be read twice
    if missing is not None:
        raise click.UsageError(f"{missing} is no file")


def send_files(history: History, process: Process, asked: Asked, paths: Sequence[Path]) -> int:
    """Shows what the files are, asks, and sends what of them is not settled; returns the exit code."""
    settings, services, ledger = history.settings, history.services, history.ledger
    begun_at = services.clock.now()
    wanted = _range(begun_at, asked)
    files = [
        LogFile(path, now=services.clock.now, believed=lambda: _believed_time(services), scope=_scope(wanted))
        for path in _distinct(paths)
    ]
    plan = [_look(file, ledger) for file in files]
    say_json({"files": plan}, indent=0) if asked.as_json else say(*map(_planned, plan))
    if asked.dry_run:
        return Exit.DONE
    if not asked.yes and is_terminal(sys.stdin):
        click.confirm("Send what is not settled yet?", abort=True, err=True)
    with contextlib.suppress(TransientError, FatalError):
        services.tokens.current()  # The answer tells the server's time before the first event is judged.
    recent = Recent()
    work = FileBackfill(
        files,
        lambda: FileWalk(
            profiles=profiles_of(settings, services),
            translator=history.translator(),
            courier=history.courier(),
            ledger=ledger,
            wanted=wanted,
            recent=recent,
            stopping=process.stopping,
        ),
        ledger.file_marks,
        process,
        parallel=asked.parallel or PARALLEL,
        identifying=history.identifying(process, begun_at=begun_at),
    )
    code: int = finish(work.run(), process, interrupted=Exit.INTERRUPTED)
    awaiting = history.awaiting()
    _tell(work.counts, awaiting, as_json=asked.as_json)
    if code == Exit.INTERRUPTED:
        say("interrupted; the same command goes on from there", is_error=True)
    is_well = not awaiting and all(
        count.is_done and not count.bad_records and not count.is_all_dead for count in work.counts
    )
    return code if code != Exit.DONE or is_well else Exit.ATTENTION


def _believed_time(services: Services) -> datetime | None:
    """Return this host's time if a server that answered agrees with it, else None."""
    skews = [http.skew for http in services.origins.values() if http.skew is not None]
    is_agreed = any(abs(skew) <= _CLOCKS_AGREE_WITHIN for skew in skews)
    return datetime.now(UTC) if is_agreed else None


def _range(now: datetime, asked: Asked) -> Range:
    since = EARLIEST if asked.since is None else position_of(asked.since, now)
    return Range(since=since, until=None if asked.until is None else position_of(asked.until, now))


def _scope(wanted: Range) -> str:
    """Names the range, so that a file of which a part was sent is not taken for one that was sent whole."""
    if wanted == Range():
        return ""
    return hashlib.sha256(f"{wanted.since} {wanted.until}".encode()).hexdigest()[:8]


def _distinct(paths: Sequence[Path]) -> list[Path]:
    return list({path.resolve(): path for path in reversed(paths)}.values())[::-1]


def _look(file: LogFile, ledger: SqlLedger) -> dict[str, Any]:
    try:
        look = file.look(ledger.file_marks())
    except UnreadableFileError as error:
        return {"file": str(file.path), "problem": str(error)}
    return {
        "file": str(file.path),
        "size": look.size,
        "kind": look.kind,
        "gzip": look.is_compressed,
        "offset": look.settled.offset,
        "line": look.settled.line,
        "first": iso(look.first) if look.first else None,
        "last": iso(look.last) if look.last else None,
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
        say_json(facts, indent=0) if as_json else say(f"{count.file}: {_counted(facts)}{_state(count)}")
    if as_json or len(counts) > 1:
        say_json(total, indent=0) if as_json else say(f"{total['files']} files: {_counted(total)}")
    if awaiting and not as_json:
        say(f"{awaiting} users await their identify: run it again to go on")


def _counted(facts: dict[str, Any]) -> str:
    """The counts in words; those that are rarely anything only where they are something."""
    always = _SUMS[:4]
    shown = [name for name in _SUMS if name in always or facts[name]]
    return ", ".join(f"{facts[name]} {name.replace('_', '-' if name in always else ' ')}" for name in shown)


def _state(count: FileCount) -> str:
    if count.problem:
        return f"; {count.problem}"
    return "" if count.is_done else f"; settled up to line {count.line}: run it again to go on"
