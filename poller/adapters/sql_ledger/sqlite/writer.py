"""The process that holds SQLite's write lock, as the kernel knows it."""

import contextlib
import os
from pathlib import Path

_LOCKS = Path("/proc/locks")
_WRITE_LOCK = "120"
"""The byte of the file `-shm` that a writer locks (https://www.sqlite.org/walformat.html)."""


def writer_of(path: Path) -> int | None:
    """Return another process that writes to the ledger now, or None if it is not known.

    The database and its companions are not opened. A process in another container has no number
    here. Some file systems, such as btrfs, show another device to the kernel than to programs.
    """
    with contextlib.suppress(OSError, ValueError):
        status = path.with_name(f"{path.name}-shm").stat()
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
        file = f"{device}:{status.st_ino}"
        for line in _LOCKS.read_text().splitlines():
            match line.split():
                # Such as: 1: POSIX  ADVISORY  WRITE 4711 fe:00:3237373 120 120
                case [_, "POSIX", _, "WRITE", pid, locked, first, _]:
                    is_ours = locked == file and first == _WRITE_LOCK
                    if is_ours and int(pid) > 0 and int(pid) != os.getpid():
                        return int(pid)
    return None
