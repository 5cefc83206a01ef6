"""Counts, lengths of time and long lines as people read them."""

import shutil
import sys
import textwrap
from datetime import timedelta

from poller.cli.views.output import is_terminal

_UNITS = (
    (timedelta(days=1), "d"),
    (timedelta(hours=1), "h"),
    (timedelta(minutes=1), "min"),
    (timedelta(seconds=1), "s"),
)
_NARROWEST = 40


def counted(number: int, noun: str) -> str:
    """Return "1 dead letter" or "2 dead letters"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def lasting(seconds: float) -> str:
    """Return the two largest units of a length of time: "2 h 1 min"."""
    left = timedelta(seconds=round(seconds))
    parts: list[str] = []
    for unit, name in _UNITS:
        number, left = divmod(left, unit)
        if number or parts:
            parts.append(f"{number} {name}" if number else "")
        if len(parts) == 2:  # noqa: PLR2004 - two units are as much as anyone reads
            break
    return " ".join(part for part in parts if part) or "0 s"


def laid_out(label: str, text: str, *, width: int | None = None) -> list[str]:
    """Return the lines of a text beside its label, broken between words where the terminal ends, never inside one.

    What is piped stays on one line. `width` is that of the terminal.
    """
    if width is None:
        width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    if width is None or len(label) + len(text) <= width or not text:
        return [f"{label}{text}".rstrip()]
    indent = " " * len(label)
    words = textwrap.wrap(
        text,
        max(width - len(label), _NARROWEST - len(label)),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [f"{label}{words[0]}", *(f"{indent}{line}" for line in words[1:])]
