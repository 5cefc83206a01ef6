"""The private folder of systemd, which holds the state of dynamic users and which only root enters.

A service with DynamicUser= keeps its state below /var/lib/private. systemd gives the service a
view in which its own folder can be reached. A command that root starts by hand has no such view.
This module makes the same view for the process, so the process can give up root and still
reach the ledger.
"""

import ctypes
import os
from pathlib import Path

from poller.core.errors import FatalError

PRIVATE = Path("/var/lib/private")
"""The private folder, after systemd.exec(5) under DynamicUser=."""

# The numbers are from linux/sched.h and linux/mount.h.
_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 0x20, 0x1000, 0x4000, 0x80000
_RESTRICTED = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC


def show_only(folder: Path) -> None:
    """Let every user of this process reach one folder below the private one, at its own path.

    The process gets its own mount namespace, which ends with the process. In it, the rest of the
    private folder is hidden. Only root may call this, and only in the main thread.

    Raises:
        FatalError: the system forbids it, for example in a container.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _check(libc.unshare(_CLONE_NEWNS))
        # Mounts below stay in this process. Mounts of the system still arrive.
        _mount(libc, None, Path("/"), None, _MS_REC | _MS_SLAVE)
        # The folder disappears under the empty file system, so it is opened before.
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _mount(libc, "tmpfs", PRIVATE, "tmpfs", _RESTRICTED, b"mode=0755,size=1m")
            _make_folders(folder.relative_to(PRIVATE))
            _mount(libc, f"/proc/self/fd/{descriptor}", folder, None, _MS_BIND)
        finally:
            os.close(descriptor)
        # The first call of a bind mount ignores these flags (mount(2)).
        _mount(libc, None, folder, None, _MS_REMOUNT | _MS_BIND | _RESTRICTED)
    except OSError as error:
        raise FatalError(
            f"cannot show {folder} to the user who owns it: {error.strerror}",
            code="private-folder-unreachable",
            hint="run the command as the service runs: systemd-run --pipe --wait, with the"
            " DynamicUser=, User= and StateDirectory= of the unit",
        ) from error


def _make_folders(relative: Path) -> None:
    """Make a folder below the private one, with every folder above it."""
    for made in [*reversed(relative.parents), relative][1:]:
        (PRIVATE / made).mkdir()
        (PRIVATE / made).chmod(0o755)


def _mount(
    libc: ctypes.CDLL,
    source: str | None,
    target: Path,
    kind: str | None,
    flags: int,
    data: bytes | None = None,
) -> None:
    encoded = [None if name is None else name.encode() for name in (source, kind)]
    _check(libc.mount(encoded[0], os.fsencode(target), encoded[1], ctypes.c_ulong(flags), data))


def _check(result: int) -> None:
    """Raise the OSError of a call of libc that failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
