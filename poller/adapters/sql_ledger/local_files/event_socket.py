"""The Unix socket beside the ledger at which the daemon shows what it settles.

Only the owner of the ledger may connect: the socket has mode 0600, and the kernel names the user of
each connection (SO_PEERCRED, unix(7)).
"""

import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from poller.adapters.sql_ledger.local_files.private_files import OWNER_ONLY
from poller.adapters.sql_ledger.places import place_of

MOST_PATH_BYTES = 107
"""The longest path of a Unix socket (unix(7)). It leaves room for a zero byte."""
_SUFFIX = ".events"
_BACKLOG = 8
_CREDENTIALS = struct.Struct("3i")


class SocketPathError(OSError):
    """Something else lies at the path of the socket, or the path cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListeningSocket:
    """A socket that listens beside the ledger, until it is removed."""

    socket: socket.socket
    path: Path
    inode: int

    def remove(self) -> None:
        """Close the socket, and remove its name if the name is still its own. Never raises."""
        self.socket.close()
        with suppress(OSError):
            if self.path.lstat().st_ino == self.inode:
                self.path.unlink()


def listen_beside(url: str, pipeline: str = "") -> ListeningSocket:
    """Listen beside the ledger, in place of a socket that a dead process left.

    Call this only while holding the lock of `run`. The socket never blocks.

    Raises:
        OSError: something else is there, or no socket can be made.
    """
    path = _path(url, pipeline)
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux gives the file the mode of the socket, so the file never has another mode.
        os.fchmod(listening.fileno(), OWNER_ONLY)
        with _address(path) as address:
            listening.bind(address)  # follows no link: any name that exists is an error
        listening.listen(_BACKLOG)
        listening.setblocking(False)
        return ListeningSocket(socket=listening, path=path, inode=path.lstat().st_ino)
    except BaseException:
        listening.close()
        raise


def connect_beside(url: str, pipeline: str = "") -> socket.socket | None:
    """Connect to the daemon that listens beside the ledger, or return None if nobody listens.

    Raises:
        OSError: the socket belongs to somebody else, or cannot be used.
    """
    return _connected(_path(url, pipeline))


def peer_user(connection: socket.socket) -> int:
    """Return the user id of the process at the other end, as the kernel knows it.

    Raises:
        OSError: the kernel does not tell.
    """
    size = _CREDENTIALS.size
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    _, user, _ = _CREDENTIALS.unpack(raw)
    return int(user)


def _connected(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return connection


def _remove_stale(path: Path) -> None:
    """Remove a socket at which nobody listens. Leave everything else alone.

    Raises:
        SocketPathError: something else is there, or somebody listens.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise SocketPathError(errno.EEXIST, f"{path.name} is no socket: remove it")
    listener = _connected(path)
    if listener is not None:
        with closing(listener):
            raise SocketPathError(errno.EADDRINUSE, f"another process listens at {path.name}")
    path.unlink()


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """Yield the path as the kernel takes it. A path that is too long goes by its folder.

    Raises:
        SocketPathError: the name alone is too long.
    """
    if len(os.fsencode(path)) <= MOST_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        address = f"/proc/self/fd/{folder}/{path.name}"
        if len(os.fsencode(address)) > MOST_PATH_BYTES:
            raise SocketPathError(errno.ENAMETOOLONG, "the name of the ledger is too long")
        yield address
    finally:
        os.close(folder)


def _path(url: str, pipeline: str) -> Path:
    """Return the path of the socket. Pipelines that share a ledger have one each."""
    return place_of(url).beside(f".{pipeline}{_SUFFIX}" if pipeline else _SUFFIX)
