"""The errors of every ledger, whatever database holds it, and the words that they share."""

from collections.abc import Iterator
from contextlib import contextmanager

from poller.core.errors import FatalError, TransientError

LOCKED = "is locked by another process"
DISK_FULL = "cannot grow: the disk is full"
INPUT_OUTPUT = "could not be read or written (I/O error; is the disk full?)"
OUT_OF_MEMORY = "could not be read or written (out of memory)"
INTERRUPTED = "was interrupted"
CHANGED = "was changed meanwhile"


class LedgerFatalError(FatalError):
    """A fatal error whose message names the place of the ledger."""


class LedgerLockedError(TransientError):
    """Another transaction keeps its locks for longer than this one waits."""


class LedgerHeldError(TransientError):
    """Another process holds the ledger, in this role or in one that is in the way."""


@contextmanager
def naming(shown: str) -> Iterator[None]:
    """Let every fatal error name the place of the ledger."""
    try:
        yield
    except LedgerFatalError:
        raise
    except FatalError as error:
        raise LedgerFatalError(
            f"ledger {shown}: {error}", code=error.code, hint=error.hint
        ) from error
