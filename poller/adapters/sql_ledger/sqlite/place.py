"""A ledger in a file of SQLite."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from poller.adapters.sql_ledger.errors import LedgerFatalError
from poller.adapters.sql_ledger.local_files.private_files import beside, refuse_unsafe_companions
from poller.adapters.sql_ledger.lock import Holder, Lost, Role
from poller.adapters.sql_ledger.sqlite import driver, ledger_files
from poller.adapters.sql_ledger.sqlite.database import SqliteDatabase
from poller.adapters.sql_ledger.sqlite.lock import FileLock, holder_of
from poller.adapters.sql_ledger.sqlite.verdicts import ROOM, verdicts
from poller.core.errors import TransientError

_TRIED_BYTES = 65_536
"""The size of a trial write. A page that is settled takes less."""


_LOCKS = (".run.lock", ".backfill.lock", ".standby.lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlitePlace:
    """The path of the file, with every link on the way resolved."""

    path: Path

    @classmethod
    def of(cls, url: str) -> Self:
        return cls(path=driver.ledger_path(url))

    @staticmethod
    def local_path(url: str) -> Path:
        return driver.configured_path(url)

    @property
    def shown(self) -> str:
        return str(self.path)

    @property
    def file(self) -> Path:
        return self.path

    def beside(self, suffix: str) -> Path:
        return beside(self.path, suffix)

    def open(self, *, create: bool) -> SqliteDatabase:
        return SqliteDatabase.open(self.path, create=create)

    def open_read_only(self) -> SqliteDatabase:
        return SqliteDatabase.open_read_only(self.path)

    def acquire(self, role: Role, now: Callable[[], datetime], on_lost: Lost) -> FileLock:
        del on_lost  # the kernel keeps the lock until the process ends
        return FileLock.acquire(self.path, role, now)

    def holder_of(self, role: Role) -> Holder | None:
        with verdicts(self.path):
            return holder_of(self.path, role)

    def exists(self) -> bool:
        return self.path.exists()

    def refuse_unusable(self) -> str | None:
        with verdicts(self.path):
            ledger_files.refuse_unfit(self.path)
            refuse_unsafe_companions(self.path, (".known", *_LOCKS))
            if ledger_files.is_empty(self.path) and not ledger_files.was_known(self.path):
                self._try_to_write(_nearest_folder(self.path))
                return f"none yet; `run` creates {self.path}"
        return None

    def try_to_write(self) -> None:
        self._try_to_write(self.path, self.path.parent)

    def _try_to_write(self, *paths: Path) -> None:
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
                f"ledger {self.path}: nothing can be written beside it: {error.strerror}",
                hint=ROOM.format(folder=paths[-1]),
            ) from None


def _nearest_folder(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.exists())
