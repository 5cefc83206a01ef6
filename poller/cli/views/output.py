"""The output of a command: lines and JSON, and the streams they go to.

All text passes `visible` on its way, because much of it comes from the log of another service and
may hold control characters. Only this module and `terminal` write to the terminal.
"""

import codecs
import io
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from typing import TextIO

import click

from poller.core.messages import iso
from poller.core.text.json_text import encode
from poller.core.text.plain_text import escaped, visible, visible_lines

_UNENCODABLE = "poller.escaped"

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
    click.echo("".join(styled), file=sys.stderr if is_error else sys.stdout)


def say_page(lines: Iterable[str]) -> None:
    """Write many lines to stdout at once, which is faster than `say` for each."""
    click.echo("\n".join(map(visible, lines)), file=sys.stdout)


def say_json(report: object, *, indent: int = 2) -> None:
    """Write a report to stdout as JSON. With `indent` 0 it is one line."""
    click.echo(visible_lines(encode(to_json(report), indent=indent)), file=sys.stdout)


def say_json_list(pages: Iterable[Iterable[object]]) -> None:
    """Write one JSON list to stdout, a page of its items at a time.

    The output is the same as the output of `say_json` for the whole list.
    """
    begin = "[\n"
    for page in pages:
        items = (
            visible_lines(encode(to_json(item), indent=2)).replace("\n", "\n  ") for item in page
        )
        click.echo(f"{begin}  " + ",\n  ".join(items), file=sys.stdout, nl=False)
        begin = ",\n"
    click.echo("[]" if begin == "[\n" else "\n]", file=sys.stdout)


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


def prepare_streams() -> None:
    """Make sure that no stream can end a command.

    A stream that is closed gets /dev/null in its place. Characters that a stream cannot encode are
    escaped.
    """
    codecs.register_error(_UNENCODABLE, _escape)
    # A file that is opened takes the lowest free descriptor. In this order each stream gets its
    # own number, so that no other file of the process ever takes the number of a stream.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            null = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123 - until the end
            setattr(sys, name, null)
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_UNENCODABLE)


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return escaped(error.object[error.start : error.end]), error.end


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
