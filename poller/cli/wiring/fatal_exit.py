"""Record a fatal error where an operator looks for it: in the ledger and in systemd's status."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from poller.adapters.sql_ledger.fatal_exit import FatalExit, record_fatal_exit
from poller.adapters.sql_ledger.places import acquire_lock, place_of
from poller.cli.options import read_settings
from poller.cli.settings_file import SettingsFile
from poller.config import SettingsError
from poller.core.errors import FatalError, PollerError
from poller.service.observability.systemd import Supervisor


@contextmanager
def recording_fatal_exit(file: SettingsFile, supervisor: Supervisor) -> Iterator[None]:
    """Record a fatal error that ends the work inside, and raise the error again.

    `status` shows the recorded error until a cycle succeeds.
    """
    try:
        yield
    except FatalError as error:
        _record(file, supervisor, error)
        raise
    except SettingsError as error:
        hint = "correct the settings, then start the service again"
        fatal = FatalError("; ".join(error.problems), code=error.code, hint=hint)
        _record(file, supervisor, fatal)
        raise


@contextmanager
def recorded(url: str) -> Iterator[None]:
    """Record in its ledger a fatal error that ends a pipeline of several, and raise it again.

    A ledger that other pipelines use is left alone: its place for an error is that of its process.
    """
    try:
        yield
    except FatalError as error:
        with suppress(PollerError, OSError):
            _write(url, error)
        raise


def _record(file: SettingsFile, supervisor: Supervisor, error: FatalError) -> None:
    supervisor.ended(error)
    # Without a ledger, or if the settings do not name it, the log and systemd's status must do.
    with suppress(PollerError, SettingsError, OSError):
        _write(read_settings(file, secrets=False).state.url, error)


def _write(url: str, error: FatalError) -> None:
    if not place_of(url).exists():
        return
    # The lock is not free while a daemon runs. Then this error is not the daemon's own.
    with acquire_lock(url, "run"):
        at = datetime.now(UTC)
        left = FatalExit(at=at, code=error.code, error=str(error), hint=error.hint)
        record_fatal_exit(url, left)
