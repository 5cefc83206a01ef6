"""The line of `check` about the ledger. It makes and changes nothing."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.sqlite import driver, ledger_files
from poller.adapters.sql_ledger.sqlite.ledger_files import LedgerFatalError
from poller.adapters.sql_ledger.sqlite.migrations import OlderLedgerError
from poller.adapters.sql_ledger.sqlite.verdicts import verdicts
from poller.adapters.sql_ledger.tables.streams import stream_mismatch_error
from poller.core.errors import PollerError, TransientError
from poller.core.events import Stream
from poller.core.log_ids import moment_of
from poller.core.spans import Span

_TRIED_BYTES = 65_536
"""The size of a trial write. A page that is settled takes less."""


def inspect_ledger(url: str, stream: Stream) -> str:
    """Return one line that says in which state the ledger is.

    Raises:
        TransientError, FatalError: `run` could not use the ledger as it is.
    """
    path = driver.ledger_path(url)
    with verdicts(path):
        ledger_files.refuse_unfit(path)
        ledger_files.refuse_unsafe_companions(path, (".known", ".run.lock", ".backfill.lock"))
        if ledger_files.is_empty(path) and not ledger_files.was_known(path):
            _check_writable(path, _nearest_folder(path))
            return f"none yet; `run` creates {path}"
    try:
        reader = LedgerReader.open(url)
    except OlderLedgerError:
        _check_writable(path, path, path.parent)
        return f"usable, {path}; an earlier version wrote it, and the next start brings it up"
    try:
        streams, spans = reader.streams(), reader.spans(stream)
        is_usable = not streams or reader.recorded(stream) or reader.can_become(stream)
    finally:
        reader.close()
    if not is_usable:
        error = stream_mismatch_error(stream, streams)
        raise LedgerFatalError(f"ledger {path}: {error}", code=error.code, hint=error.hint)
    _check_writable(path, path, path.parent)
    live = next((span for span in spans if span.is_live), None)
    return f"usable, {path}; {_position_of(live)}"


def has_begun(url: str, stream: Stream) -> bool:
    """Return whether the stream has a live span. A ledger that cannot be read has none."""
    with suppress(PollerError):
        reader = LedgerReader.open(url)
        try:
            return any(span.is_live for span in reader.spans(stream))
        finally:
            reader.close()
    return False


def _position_of(live: Span | None) -> str:
    if live is None:
        return "nothing settled yet"
    moment = moment_of(live.reached)
    if moment:
        return f"at {moment:%Y-%m-%d %H:%M:%S}Z"
    return f"at {live.reached}"


def _nearest_folder(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.exists())


def _check_writable(ledger: Path, *paths: Path) -> None:
    """Check the rights to these paths, and try a write in the last of them, which is a folder.

    Raises:
        TransientError: the disk is full.
        FatalError: this user may not write there.
    """
    for path in paths:
        if not os.access(path, os.W_OK):
            raise LedgerFatalError(
                f"ledger: {path} is not writable by this user",
                code="ledger-inaccessible",
                hint="run the check as the user that the service runs as, "
                "or give that user the folder",
            )
    try:
        with tempfile.TemporaryFile(dir=paths[-1], buffering=0) as file:
            file.write(b"\0" * _TRIED_BYTES)
            os.fsync(file.fileno())
    except OSError as error:
        raise TransientError(
            f"ledger {ledger}: nothing can be written beside it: {error.strerror}"
        ) from None
