"""The terminal as rich draws on it."""

import sys
from typing import TextIO

from rich.console import Console


class Terminal(Console):
    """Ends like every other command where nobody reads any more."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


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
