"""A fatal error on its way out: kept in the ledger for `status`, and told to systemd."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from poller.adapters.sql_ledger import FatalExit, LedgerLock, ledger_path, record_fatal_exit
from poller.cli.options import read_settings
from poller.config import SettingsError
from poller.core.errors import FatalError, PollerError
from poller.service.observability.systemd import Supervisor


@contextmanager
def last_words(config: Path | None, supervisor: Supervisor) -> Iterator[None]:
    """Leave a fatal error of the work within where an operator looks for it, and pass it on."""
    try:
        yield
    except FatalError as error:
        _tell(config, supervisor, error)
        raise
    except SettingsError as error:
        fatal = FatalError(
            "; ".join(error.problems),
            code=error.code,
            hint="put the settings right, then start it again",
        )
        _tell(config, supervisor, fatal)
        raise


def _tell(config: Path | None, supervisor: Supervisor, error: FatalError) -> None:
    supervisor.ended(error)
    # Where there is no ledger, or no telling which, the log and systemd's status are all there is.
    with suppress(PollerError, SettingsError, OSError):
        url = read_settings(config, secrets=False).state.url
        if ledger_path(url).exists():
            with LedgerLock.acquire(
                url, "run"
            ):  # else a daemon is at work, and this error is not its own
                words = FatalExit(
                    at=datetime.now(UTC), code=error.code, error=str(error), hint=error.hint
                )
                record_fatal_exit(url, words)
