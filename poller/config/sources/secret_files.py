"""Small files that settings and secrets are read from."""

import os
import select
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from poller.config.errors import BadLineError, BadValueError
from poller.config.parsers.texts import Parser, text

PIPE_S = 5.0
"""What the writer of a pipe gets."""
_LARGEST_FILE = 1_000_000  # bytes; nothing real comes near, and /dev/zero never ends


def is_there(path: Path) -> bool:
    """Whether something has this name; so it is said of one that may not be looked at, for reading to complain."""
    try:
        path.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        BadValueError: no such file, no permission, too large, not text, a silent pipe; the path is not in it.
    """
    try:
        content = _read(path)
    except BadValueError:
        raise
    except OSError as error:
        raise BadValueError(f"cannot be read: {os.strerror(error.errno or 0).lower()}") from None
    except ValueError:  # a zero byte in the path
        raise BadValueError("cannot be read: no such file or directory") from None
    if len(content) > _LARGEST_FILE:
        raise BadValueError("cannot be read: far too large")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadLineError("is not UTF-8 text", line) from None


def _read(path: Path) -> bytes:
    """Read up to one byte more than is allowed.

    A shell gives a secret by a pipe, as in `<(pass show key)`. Opening a pipe waits for its writer without end, so
    that it is opened without waiting, and its writer gets `PIPE_S`.

    Raises:
        OSError: the file cannot be read.
        BadValueError: nothing more came out of a pipe or a terminal in time.
    """
    content, due_at, has_waited = b"", time.monotonic() + PIPE_S, False
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as file:  # noqa: PTH123
        is_pipe = stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
        while len(content) <= _LARGEST_FILE:
            data = file.read(_LARGEST_FILE + 1 - len(content))
            content += data or b""
            if data == b"" and (content or has_waited or not is_pipe):
                break
            if not data:
                has_waited = True
                if not select.select([file], [], [], max(due_at - time.monotonic(), 0.0))[0]:
                    raise BadValueError(
                        f"cannot be read: a pipe, and its writer was not done within {PIPE_S:g} s"
                    )
    return content


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFile:
    """A secret that stands in a file, not read before it is known to be the one that counts."""

    path: object  # as given, so perhaps no path at all
    folder: Path
    is_required: bool

    def read(self) -> str | None:
        """The secret without its trailing newline; None for one that cannot be had and is not required.

        Raises:
            BadValueError: unreadable or empty.
        """
        try:
            return _filled(read_text(self.folder / text(self.path)).rstrip("\r\n"))
        except BadValueError:
            if self.is_required:
                raise
            return None


def _filled(content: str) -> str:
    if not content.strip():
        raise BadValueError("is an empty file")
    return content


def secret(parse: Parser) -> Callable[[object], str | None]:
    """A parser of a secret that is given as text or as a file that holds it."""

    def opened(value: object) -> str | None:
        found = value.read() if isinstance(value, SecretFile) else value
        return None if found is None else parse(found)

    return opened
