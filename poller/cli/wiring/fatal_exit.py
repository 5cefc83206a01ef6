"""Record a fatal error where an operator looks for it: in the ledger and in systemd's status."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from poller.adapters.sql_ledger.fatal_exit import FatalExit, record_fatal_exit
from poller.adapters.sql_ledger.places import acquire_lock, open_database, place_of
from poller.cli.options import read_settings
from poller.cli.settings_file import SettingsFile
from poller.cli.wiring.services import stream_of
from poller.config import Settings, SettingsError
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


def _record(file: SettingsFile, supervisor: Supervisor, error: FatalError) -> None:
    supervisor.ended(error)
    # Without a ledger, or if the settings do not name it, the log and systemd's status must do.
    with suppress(PollerError, SettingsError, OSError):
        _write(read_settings(file, secrets=False), error)


def _write(settings: Settings, error: FatalError) -> None:
    url = settings.state.url
    if not place_of(url).exists():
        return
    # The lock is not free while a daemon runs. Then this error is not the daemon's own.
    with acquire_lock(url, "run"), closing(open_database(url, change=True)) as database:
        record_fatal_exit(database, stream_of(settings), FatalExit.of(error))
