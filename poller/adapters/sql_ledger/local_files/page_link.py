"""The link of the live page, in a file beside the ledger that only its owner may read."""

import os
from contextlib import suppress
from pathlib import Path

from poller.adapters.sql_ledger.local_files.private_files import OWNER_ONLY, beside
from poller.adapters.sql_ledger.places import place_of

_SUFFIX = ".page"
_LONGEST = 4096
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def write_page_link(url: str, link: str, pipeline: str = "") -> None:
    """Write the link. The file is made anew under another name, so no link is followed.

    Raises:
        OSError: it cannot be written.
    """
    path = _path(url, pipeline)
    new = beside(path, ".new")
    new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(new, flags, OWNER_ONLY)
    try:
        os.fchmod(descriptor, OWNER_ONLY)
        os.write(descriptor, f"{link}\n".encode())
    finally:
        os.close(descriptor)
    new.replace(path)


def read_page_link(url: str, pipeline: str = "") -> str | None:
    """Return the link of the page, or None without a page.

    Raises:
        OSError: the file belongs to somebody else.
    """
    try:
        descriptor = os.open(
            _path(url, pipeline), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, _LONGEST).decode().strip() or None
    finally:
        os.close(descriptor)


def remove_page_link(url: str, pipeline: str = "") -> None:
    """Remove the link. Never raises."""
    with suppress(OSError):
        _path(url, pipeline).unlink(missing_ok=True)


def _path(url: str, pipeline: str) -> Path:
    """Return the path of the file. Pipelines that share a ledger have one each."""
    return place_of(url).beside(f".{pipeline}{_SUFFIX}" if pipeline else _SUFFIX)
