"""A backup of the ledger from before a migration, made by SQLite itself.

A copy of the file would not do: the newest commits stand in the write-ahead log beside it. SQLite's
own backup copies the last committed state of both.
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from poller.adapters.sql_ledger.local_files.private_files import beside, open_private


def backup_path(path: Path, version: int) -> Path:
    """Return the name of the backup that holds this version: `ledger.db.v3` for version 3."""
    return beside(path, f".v{version}")


def way_back(path: Path, known: int) -> str:
    """Return how to go back to a program that knows this version, as the end of a sentence."""
    kept = (backup_path(path, version) for version in range(known, 0, -1))
    newest = next((backup for backup in kept if backup.exists()), None)
    if newest is None:
        return ""
    return (
        f", or put its backup {newest} in its place, as docs/guides/upgrade.md says: what was "
        "settled since is sent again, under the same message ids"
    )


def back_up(path: Path, version: int) -> None:
    """Copy the ledger's last committed state. A backup of the same version is replaced.

    The copy is written under another name, and renamed once it is on the disk. So a crash never
    leaves half a backup.

    Raises:
        sqlite3.Error, OSError: the copy cannot be written.
    """
    unfinished = beside(path, f".v{version}.part")
    descriptor = open_private(unfinished)
    try:
        os.ftruncate(descriptor, 0)
        # SQLite holds no lock on this file, so closing the descriptor drops none.
        _copy(path, unfinished)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    unfinished.replace(backup_path(path, version))


def _copy(path: Path, target: Path) -> None:
    source = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
    with contextlib.closing(source), contextlib.closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, with no -wal beside it
