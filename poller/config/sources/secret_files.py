"""The small files that hold settings and secrets."""

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
"""The time that the writer of a pipe has."""
_LARGEST_FILE = 1_000_000  # bytes: no real file comes near, and /dev/zero never ends


def is_there(path: Path) -> bool:
    """Return whether the path exists.

    A path in a folder that may not be searched counts as existing. Reading it then says why.
    """
    try:
        path.stat()
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        BadValueError: the file is missing, closed to this user, too large or not text, or it is
            a pipe without a writer. The message does not hold the path.
    """
    try:
        content = _read(path)
    except BadValueError:
        raise
    except OSError as error:
        raise BadValueError(f"cannot be read: {os.strerror(error.errno or 0).lower()}") from None
    except ValueError:  # The path holds a zero byte.
        raise BadValueError("cannot be read: no such file or directory") from None
    if len(content) > _LARGEST_FILE:
        raise BadValueError("cannot be read: it is far too large")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadLineError("is not UTF-8 text", line) from None


def _read(path: Path) -> bytes:
    """Return the content of a file, and at most one byte more than is allowed.

    A shell passes a secret by a pipe, as in `<(pass show key)`. An ordinary open of a pipe waits
    for the writer without end. So the pipe is opened without waiting, and its writer has `PIPE_S`.

    Raises:
        OSError: the file cannot be read.
        BadValueError: a pipe or a terminal did not end in time.
    """
    content, due_at, has_waited = b"", time.monotonic() + PIPE_S, False
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor
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
                        "cannot be read: it is a pipe, and its writer did not end within "
                        f"{PIPE_S:g} s"
                    )
    return content


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFile:
    """A secret in a file. The file is read only if no stronger source has the secret."""

    path: object  # unchecked, so it may be something other than text
    folder: Path
    is_required: bool

    def read(self) -> str | None:
        """Return the secret without its trailing newline.

        Return None if the secret cannot be read and is not required.

        Raises:
            BadValueError: the file cannot be read, or is empty.
        """
        try:
            return _not_empty(read_text(self.folder / text(self.path)).rstrip("\r\n"))
        except BadValueError:
            if self.is_required:
                raise
            return None


def _not_empty(content: str) -> str:
    if not content.strip():
        raise BadValueError("is an empty file")
    return content


def secret(parse: Parser) -> Callable[[object], str | None]:
    """Return a parser for a secret that is text or a file. `parse` checks the text."""

    def parse_secret(value: object) -> str | None:
        content = value.read() if isinstance(value, SecretFile) else value
        return None if content is None else parse(content)

    return parse_secret


def secrets(parse: Parser) -> Callable[[object], tuple[str, ...]]:
    """Return a parser for a list of secrets, for text with white space between, and for a file.

    `parse` checks each secret. A secret that is named twice counts once.
    """

    def parse_secrets(value: object) -> tuple[str, ...]:
        content = value.read() if isinstance(value, SecretFile) else value
        entries = content.split() if isinstance(content, str) else content or ()
        if not isinstance(entries, list | tuple):
            raise BadValueError("must be a list of texts in quotes")
        return tuple(dict.fromkeys(parse(entry) for entry in entries))

    return parse_secrets
