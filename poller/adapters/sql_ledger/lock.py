"""One daemon and one backfill a ledger: a lock file beside it, which the system releases when its holder dies."""

import contextlib
import fcntl
import os
from collections.abc import Iterator

from poller.adapters.sql_ledger.database import beside, path_of
from poller.core.errors import FatalError, TransientError


class LedgerHeldError(TransientError):
    """Another process holds the ledger."""


@contextlib.contextmanager
def holding(url: str, role: str) -> Iterator[None]:
    """Holds the ledger in this role, "run" or "backfill"; makes its folder if there is none.

    Raises:
        LedgerHeldError: naming the holder.
        FatalError: the folder cannot be used.
    """
    path = path_of(url)
    lock = beside(path, f".{role}.lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise FatalError(
            f"the ledger's folder {path.parent} cannot be used ({error.strerror})",
            hint="make it, or point state.url elsewhere; the user that runs this must be able to write there",
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise LedgerHeldError(f"the ledger {path} is held by process {holder}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder_of(url: str, role: str) -> int | None:
    """The process that holds the ledger in this role, if any; takes nothing."""
    try:
        descriptor = os.open(beside(path_of(url), f".{role}.lock"), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        held = os.pread(descriptor, 32, 0).strip()
        return int(held) if held.isdigit() else None
    finally:
        os.close(descriptor)
    return None
