"""The output of a command: lines and JSON, and the streams they go to.

All text passes `visible` on its way, because much of it comes from the log of another service and
may hold control characters. Only this module and `terminal` write to the terminal.
"""

import codecs
import errno
import io
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import TextIO

import click

from poller.core.text.dates import iso
from poller.core.text.json_text import encode
from poller.core.text.plain_text import escaped, visible, visible_lines

_OPEN: list[object] = []
"""The files that hold the numbers of closed streams until the process ends."""
_UNENCODABLE = "poller.escaped"

PLAIN_SIGNS = {"✓": "OK", "✗": "NO", "?": "? ", "→": "->"}
"""The signs of the program, and the same in plain characters."""

NOT_IN_JSON = {"is_in_json": False}
"""The metadata of a field of a report that only the text shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a line with one style."""

    text: str
    fg: str | None = None
    bold: bool = False
    dim: bool = False


def say(*lines: str, is_error: bool = False, fg: str | None = None, mark: str = "") -> None:
    """Write lines to stdout, or to stderr for an error.

    With a `mark` before the lines, only the mark has the colour.
    """
    for line in lines:
        if mark:
            say_parts([Part(text=mark, fg=fg), Part(text=line)], is_error=is_error)
        else:
            say_parts([Part(text=line, fg=fg)], is_error=is_error)


def say_parts(parts: Iterable[Part], *, is_error: bool = False) -> None:
    """Write one line of parts that differ in style."""
    styled = (
        click.style(visible(part.text), fg=part.fg, bold=part.bold or None, dim=part.dim or None)
        if part.fg or part.bold or part.dim
        else visible(part.text)
        for part in parts
    )
    _write("".join(styled), is_error=is_error)


def say_page(lines: Iterable[str]) -> None:
    """Write many lines to stdout at once, which is faster than `say` for each."""
    _write("\n".join(map(visible, lines)))


def say_json(report: object, *, indent: int = 2) -> None:
    """Write a report to stdout as JSON. With `indent` 0 it is one line."""
    _write(visible_lines(encode(to_json(report), indent=indent)))


def say_json_list(pages: Iterable[Iterable[object]]) -> None:
    """Write one JSON list to stdout, a page of its items at a time.

    The output is the same as the output of `say_json` for the whole list.
    """
    begin = "[\n"
    for page in pages:
        items = (
            visible_lines(encode(to_json(item), indent=2)).replace("\n", "\n  ") for item in page
        )
        _write(f"{begin}  " + ",\n  ".join(items), nl=False)
        begin = ",\n"
    _write("[]" if begin == "[\n" else "\n]")


def to_json(value: object) -> object:
    """Return a report in the types of JSON: dataclasses as objects, and moments as text in UTC."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Mapping):
        return {key: to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    if is_dataclass(value):
        return {
            field.name: to_json(getattr(value, field.name))
            for field in fields(value)
            if field.metadata != NOT_IN_JSON
        }
    return value


def _write(text: str, *, nl: bool = True, is_error: bool = False) -> None:
    """Write text. Once the reader of a pipe is gone, the command goes on without a reader.

    So its exit code still says how it ended: `status --strict | head -1` tells a blocked daemon.
    """
    stream = sys.stderr if is_error else sys.stdout
    is_coloured = False if os.environ.get("NO_COLOR") else None  # None: on a terminal
    try:
        click.echo(text, file=stream, nl=nl, color=is_coloured)
    except BrokenPipeError:
        mute(stream)


def mute(stream: TextIO) -> None:
    """Lead a stream to /dev/null, with whatever it has not written yet."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


class ClosedOutputError(OSError):
    """The command has something to print, and stdout is closed."""

    def __init__(self) -> None:
        super().__init__(errno.EBADF, "standard output is closed")


class _ClosedOutput(io.TextIOBase):
    """The stdout of a process that was started without one."""

    def write(self, text: str) -> int:
        """Raise the error, so that no command succeeds that could not print its answer."""
        del text
        raise ClosedOutputError


def prepare_streams() -> None:
    """Make sure that no stream can end a command that need not use it.

    A stream that is closed gets /dev/null in its place. Only a write to a closed stdout is an
    error: a command that cannot print its answer must not exit with 0. Characters that a stream
    cannot encode are escaped.
    """
    codecs.register_error(_UNENCODABLE, _escape)
    # A file that is opened takes the lowest free descriptor. In this order each stream gets its
    # own number, so no other file of the process ever takes the number of a stream.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            null = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123 - until the end
            setattr(sys, name, _ClosedOutput() if name == "stdout" else null)
            _OPEN.append(null)
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_UNENCODABLE)


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return escaped(error.object[error.start : error.end]), error.end


def sign(character: str) -> str:
    """Return one of the program's own signs, in plain characters where stdout needs them."""
    if can_show("✓✗→"):
        return character
    return PLAIN_SIGNS[character]


def can_show(text: str) -> bool:
    """Return whether the encoding of stdout has these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether the stream is a terminal. A closed stream is None."""
    return stream is not None and stream.isatty()
