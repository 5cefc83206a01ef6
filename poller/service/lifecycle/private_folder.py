"""systemd's private folder, below which the state of dynamic users lies, and which only root may enter."""

import ctypes
import os
from pathlib import Path

from poller.core.errors import FatalError

PRIVATE = Path("/var/lib/private")
"""See systemd.exec(5), DynamicUser."""

# From linux/sched.h and linux/mount.h.
_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x2, 0x4, 0x8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_SLAVE = 0x20, 0x1000, 0x4000, 0x80000
_WALLS = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC


def show_only(folder: Path) -> None:
    """Let every user of this process reach one folder below the private one, at its own path.

    systemd does the same for the service: the process gets a mount namespace of its own, which ends with it. The
    rest of the private folder is hidden there.

    Raises:
        FatalError: the process may not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _checked(libc.unshare(_CLONE_NEWNS))
        _mount(
            libc, None, Path("/"), None, _MS_REC | _MS_SLAVE
        )  # what is mounted below stays in this process
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _mount(libc, "tmpfs", PRIVATE, "tmpfs", _WALLS, b"mode=0755,size=1m")
            for made in [
                *reversed(folder.relative_to(PRIVATE).parents),
                folder.relative_to(PRIVATE),
            ][1:]:
                (PRIVATE / made).mkdir()
                (PRIVATE / made).chmod(0o755)
            _mount(libc, f"/proc/self/fd/{descriptor}", folder, None, _MS_BIND)
        finally:
            os.close(descriptor)
        _mount(libc, None, folder, None, _MS_REMOUNT | _MS_BIND | _WALLS)
    except OSError as error:
        raise FatalError(
            f"cannot show {folder} to the user who owns it: {error.strerror}",
            code="private-folder-unreachable",
            hint="run it as the service runs: systemd-run --pipe --wait, with DynamicUser=, User= and "
            "StateDirectory= of the unit",
        ) from error


def _mount(
    libc: ctypes.CDLL,
    source: str | None,
    target: Path,
    kind: str | None,
    flags: int,
    data: bytes | None = None,
) -> None:
    encoded = [None if name is None else name.encode() for name in (source, kind)]
    _checked(libc.mount(encoded[0], os.fsencode(target), encoded[1], ctypes.c_ulong(flags), data))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
