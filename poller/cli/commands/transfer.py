"""The commands `ledger export` and `ledger import`: move a stream from one ledger to another."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from poller.adapters.sql_ledger.places import acquire_lock
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.transfer.exporting import export_stream
from poller.adapters.sql_ledger.transfer.importing import import_stream
from poller.cli.groups import examples
from poller.cli.ledger_options import source_option
from poller.cli.options import choose, config_option, read_settings
from poller.cli.views.output import say
from poller.cli.views.wording import counted, stream_title
from poller.core.events import Stream
from poller.service.lifecycle.exit_codes import ExitCode

_STANDARD = Path("-")
_FILE = click.Path(path_type=Path, allow_dash=True)


@click.command(
    "export",
    epilog=examples("ledger export stream.jsonl", "ledger export -"),
)
@config_option
@click.argument("file", type=_FILE)
@click.option(
    "--domain", help="The domain of the tenant. The default is the domain in the settings."
)
@source_option
def export_command(
    config: Path | None, file: Path, *, domain: str | None, source_name: str | None
) -> int:
    """Write everything that the ledger holds of a stream to FILE, or to stdout for -.

    Neither the daemon nor a backfill may run meanwhile. The file holds personal data: dead letters
    whole, and the ids of users who wait for an identify. It is made with mode 0600. Delete it after
    the import.
    """
    settings = read_settings(config, secrets=False)
    url = settings.state.url
    with acquire_lock(url, "run"), acquire_lock(url, "backfill"):
        stream = choose(
            _streams(url),
            domain=domain or settings.auth0.domain,
            source_name=source_name,
            own=(settings.segment.source_name, settings.segment.generation),
        )
        with _new_file(file) as opened:
            rows = export_stream(url, stream, opened)
    _tell("exported", stream, rows)
    say("the file holds personal data: delete it after the import", is_error=True)
    return ExitCode.DONE


@click.command(
    "import",
    epilog=examples("ledger import stream.jsonl", "ledger import -"),
)
@config_option
@click.argument("file", type=_FILE)
def import_command(config: Path | None, file: Path) -> int:
    """Add the stream in FILE, which `ledger export` wrote, to the ledger that the settings name.

    A ledger that is missing is made. The stream must not be there yet. All of it is imported, or
    nothing.
    """
    settings = read_settings(config, secrets=False)
    url = settings.state.url
    with (
        acquire_lock(url, "run"),
        acquire_lock(url, "backfill"),
        _existing_file(file) as opened,
    ):
        imported = import_stream(url, opened)
    _tell("imported", imported.stream, imported.rows)
    return ExitCode.DONE


def _streams(url: str) -> tuple[Stream, ...]:
    reader = LedgerReader.open(url)
    try:
        return reader.streams()
    finally:
        reader.close()


def _tell(what: str, stream: Stream, rows: dict[str, int]) -> None:
    """Say on stderr what was moved, since stdout may hold the stream."""
    spans, letters = rows["span"], rows["dead_letter"]
    say(
        f"{what}: {stream_title(stream.domain, stream.source_name)}, {counted(spans, 'span')}, "
        f"{counted(letters, 'dead letter')}, {counted(sum(rows.values()), 'row')} in all",
        is_error=True,
    )


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Make the file, for its owner alone. Remove it again if it cannot be written to its end."""
    if path == _STANDARD:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.fdopen(os.open(path, flags, 0o600), "wb")
    except OSError as error:
        raise _refused(path, error) from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def _existing_file(path: Path) -> Iterator[BinaryIO]:
    if path == _STANDARD:
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        raise _refused(path, error) from None
    with file:
        yield file


def _refused(path: Path, error: OSError) -> click.BadParameter:
    return click.BadParameter(f"{path}: {error.strerror}", param_hint="FILE")
