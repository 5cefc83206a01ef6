"""What a command says: lines, JSON, and the streams that they go to.

All text goes through `visible` on its way, since much of it comes from the log of another service. Only this module and
`terminal` write to the terminal.
"""

import codecs
import io
import os
import sys
from collections.abc import Iterable
from typing import TextIO

import click

from poller.core.text.json_text import encode
from poller.core.text.plain_text import escaped, visible, visible_lines

_UNENCODABLE = "poller.escaped"


def say(*lines: str, is_error: bool = False, fg: str | None = None, mark: str = "") -> None:
    """Write lines to stdout, or for an error to stderr. With a `mark` before them, only the mark has the colour."""
    stream = sys.stderr if is_error else sys.stdout
    for line in lines:
        text = visible(line)
        click.echo(
            click.style(mark, fg=fg) + text if mark else click.style(text, fg=fg) if fg else text,
            file=stream,
        )


def say_json(value: object, *, indent: int = 2) -> None:
    """Write JSON to stdout, on one line where `indent` is 0."""
    click.echo(visible_lines(encode(value, indent=indent)), file=sys.stdout)


def say_page(lines: Iterable[str]) -> None:
    """Write many lines to stdout at once: `say` hands each over by itself."""
    click.echo("\n".join(map(visible, lines)), file=sys.stdout)


def say_json_list(pages: Iterable[Iterable[object]]) -> None:
    """Write one JSON list to stdout, a page of its items at a time, as `say_json` would write it whole."""
    begin = "[\n"
    for page in pages:
        items = (visible_lines(encode(item, indent=2)).replace("\n", "\n  ") for item in page)
        click.echo(f"{begin}  " + ",\n  ".join(items), file=sys.stdout, nl=False)
        begin = ",\n"
    click.echo("[]" if begin == "[\n" else "\n]", file=sys.stdout)


def prepare_streams() -> None:
    """Let no stream end a command: one that is closed takes anything, and what it cannot encode is escaped."""
    codecs.register_error(_UNENCODABLE, _escape)
    # In this order, so that each takes the number of the descriptor that is closed and no other file ever does.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - for as long as we live
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_UNENCODABLE)


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return escaped(error.object[error.start : error.end]), error.end


def can_show(text: str) -> bool:
    """Whether the encoding of the output has these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits there; a stream may be closed, and then is None."""
    return stream is not None and stream.isatty()
