"""Files beside a ledger that only their owner may use, and that the program itself has made."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from poller.adapters.sql_ledger.errors import LedgerFatalError
from poller.core.errors import FatalError

OWNER_ONLY = 0o600


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file beside the ledger: the ledger's name with this suffix."""
    return path.with_name(path.name + suffix)


def open_private(path: Path) -> int:
    """Open a file beside the ledger for reading and writing. Make a missing one with mode 0600.

    Never call this with the database file.

    Raises:
        FatalError: the file is a link, has a second name, or is not a regular file.
    """
    with suppress(FileNotFoundError):
        _refuse_unsafe(path, path.lstat())
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, OWNER_ONLY)
    try:
        _refuse_unsafe(path, os.fstat(descriptor))
    except FatalError:
        os.close(descriptor)
        raise
    return descriptor


def refuse_unsafe_companions(path: Path, suffixes: Iterable[str]) -> None:
    """Refuse files beside the ledger that the program cannot have made. Open none of them.

    Raises:
        FatalError: a file with one of these suffixes is a link, has a second name, or is not a
            regular file.
    """
    for suffix in suffixes:
        companion = beside(path, suffix)
        with suppress(FileNotFoundError):
            _refuse_unsafe(companion, companion.lstat())


def _refuse_unsafe(path: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise _unsafe_file_error(path, "is a link")
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        raise _unsafe_file_error(path, "has a second name, or is not a regular file")


def _unsafe_file_error(path: Path, why: str) -> LedgerFatalError:
    return LedgerFatalError(
        f"the program made no such file: {path} {why}",
        code="ledger-companion-file-unsafe",
        hint="remove it: the program makes it anew",
    )
