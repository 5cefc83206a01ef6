"""Root gives up its rights before it opens anything in a folder that another user owns.

The owner of a folder can put a link in the place of any file there. Root would follow the link and
write to its target, so the owner could write to any file of the system. A flag such as O_NOFOLLOW
cannot prevent this: SQLite itself opens files beside the ledger, without such a flag.

So root becomes the owner of the folder, for good. Before that, three things are proved: only one
user owns the way to the ledger, this user reaches the folder, and this user can read the program.
Afterwards the process proves that it cannot become root again.
"""

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from poller.core.errors import FatalError, TransientError

_ROOT = 0
_MOST_LINKS = 40  # the limit of the kernel, path_resolution(7)
_LASTING_ERRORS = {errno.EPERM, errno.EINVAL}


@dataclass(frozen=True, slots=True, kw_only=True)
class PathComponent:
    """A folder or a link on the way to a file."""

    path: Path
    status: os.stat_result

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.status.st_mode)

    @property
    def is_open_to_others(self) -> bool:
        """Say if another user than its owner may put something into the folder."""
        by_group = self.status.st_mode & stat.S_IWGRP and self.status.st_gid != _ROOT
        return not self.is_link and bool(by_group or self.status.st_mode & stat.S_IWOTH)

    @property
    def is_sticky(self) -> bool:
        """Say if a file in the folder can be moved only by its own owner."""
        return bool(self.status.st_mode & stat.S_ISVTX)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixUser:
    """A user by numbers. A dynamic user of systemd has no name while its service is down."""

    uid: int
    gid: int


def give_up_root(file: Path) -> None:
    """Become, for good, the user who owns the folder of this file.

    A process that is not root's stays as it is. Root stays root if only root can write to the
    folder. Call this from the main thread, after everything that only root may read was read, and
    before anything in the folder is opened.

    Raises:
        FatalError: the folder belongs to several users, other users may write to it, or the
            process cannot become its owner.
        TransientError: the system is short of something.
    """
    if os.geteuid() != _ROOT:
        return
    components = way_to(file)
    owner = owner_of(components)
    if owner == _ROOT:
        _refuse_open_folder(components)
        return
    folder = next(component.path for component in reversed(components) if not component.is_link)
    user = _user(owner)
    try:
        _prove_reach(folder, user)
        _become(user)
    except OSError as error:
        if error.errno not in _LASTING_ERRORS:
            raise TransientError(f"root cannot become user {owner}: {error.strerror}") from error
        raise FatalError(
            f"root cannot become user {owner}, the owner of {folder}: {error.strerror}",
            code="user-change-refused",
            hint=f"run it as user {owner}: root opens nothing in a folder of another user",
        ) from error


def way_to(file: Path) -> tuple[PathComponent, ...]:
    """Return every folder and link that leads to the file, from the root folder down.

    The list ends at the first folder that does not exist yet.
    """
    return tuple(
        component
        for component in _walk(file)
        if component.is_link or stat.S_ISDIR(component.status.st_mode)
    )


def owner_of(components: tuple[PathComponent, ...]) -> int:
    """Return the number of the one user, other than root, who owns anything on the way.

    Return root's number if root owns everything.

    Raises:
        FatalError: several users own a part. Each could lead root into a folder of another.
    """
    owners = {
        component.status.st_uid: component.path
        for component in components
        if component.status.st_uid != _ROOT
    }
    if len(owners) > 1:
        named = ", ".join(f"{path} of user {uid}" for uid, path in owners.items())
        raise FatalError(
            f"several users own the way to the ledger: {named}",
            code="ledger-path-shared",
            hint="keep the ledger where all folders and links above it belong to root or to its"
            " own user",
        )
    return next(iter(owners), _ROOT)


def _walk(file: Path) -> Iterator[PathComponent]:
    """Yield each component of the way as the kernel resolves it, with links followed."""
    current, links = Path("/"), 0
    yield PathComponent(path=current, status=current.lstat())
    pending = [*reversed(file.absolute().parts[1:])]
    while pending and links <= _MOST_LINKS:
        name = pending.pop()
        if name == "..":
            current = current.parent
            continue
        child = current / name
        try:
            status = child.lstat()
        except OSError:  # missing, or hidden even from root. Opening the file will tell
            return
        yield PathComponent(path=child, status=status)
        if not stat.S_ISLNK(status.st_mode):
            current = child
            continue
        links += 1
        target = child.readlink()
        if target.is_absolute():
            current = Path("/")
        pending += reversed([part for part in target.parts if part != "/"])


def _refuse_open_folder(components: tuple[PathComponent, ...]) -> None:
    """Refuse a folder of root's in which other users could put links.

    A sticky folder on the way is safe, because no other user may replace root's files there.
    """
    last = next(component for component in reversed(components) if not component.is_link)
    for component in components:
        if component.is_open_to_others and (component is last or not component.is_sticky):
            raise FatalError(
                f"other users can write to {component.path}, so root opens no ledger there",
                code="ledger-folder-open-to-others",
                hint="keep the ledger in a folder that only its user can write to: mkdir -m 700"
                f" FOLDER, or chmod go-w {component.path}",
            )


def _user(uid: int) -> UnixUser:
    """Return the user with its own group. The group of a dynamic user has the user's number.

    The group of the folder cannot be used: a folder inside a setgid folder inherits its group, and
    the owner need not be a member of that group.
    """
    try:
        return UnixUser(uid=uid, gid=pwd.getpwuid(uid).pw_gid)
    except KeyError:
        return UnixUser(uid=uid, gid=uid)


def _prove_reach(folder: Path, user: UnixUser) -> None:
    """Make sure that the user reaches the folder, and can read the program.

    Raises:
        FatalError: the user cannot.
        OSError: the process may not become the user.
    """
    # The import loads ctypes, and few commands come here.
    from poller.service.lifecycle.private_folder import PRIVATE, show_only  # noqa: PLC0415

    if not _reaches(folder, user) and folder.is_relative_to(PRIVATE):
        show_only(folder)
    if not _reaches(folder, user):
        raise FatalError(
            f"the owner of the ledger, user {user.uid}, cannot enter {folder}",
            code="ledger-folder-unreachable",
            hint=f"let user {user.uid} search that folder and every one above it (chmod +x)",
        )
    for program in (__file__, os.__file__):
        with _acting_as(user):
            is_readable = os.access(program, os.R_OK, effective_ids=True)
        if not is_readable:
            raise FatalError(
                f"the owner of the ledger, user {user.uid}, cannot read the program, {program}",
                code="program-unreadable",
                hint="install the program and its Python where every user may read them, as in"
                " /opt",
            )


def _reaches(folder: Path, user: UnixUser) -> bool:
    with _acting_as(user):
        return os.access(folder / ".", os.X_OK, effective_ids=True)


@contextmanager
def _acting_as(user: UnixUser) -> Iterator[None]:
    """Act as the user for a moment. Root's other groups are gone afterwards."""
    os.setgroups([])
    os.setegid(user.gid)
    try:
        os.seteuid(user.uid)
        try:
            yield
        finally:
            os.seteuid(_ROOT)
    finally:
        os.setegid(_ROOT)


def _become(user: UnixUser) -> None:
    """Become the user, and prove that the process cannot become root again.

    The real, the effective and the saved id change. With an old saved id, a process could take it
    back later.

    Raises:
        FatalError: the process can become root again.
        OSError: the process may not change its user.
    """
    os.setgroups([])
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    try:
        os.setresuid(_ROOT, _ROOT, _ROOT)
    except PermissionError:
        return
    raise FatalError(
        f"became user {user.uid}, and could become root again",
        code="root-not-given-up",
        hint=f"run it as user {user.uid} instead of root",
    )
