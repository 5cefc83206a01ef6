"""The form of counts, lengths of time, positions and long lines for people."""

import shutil
import sys
import textwrap
from datetime import timedelta

from poller.cli.views.output import is_terminal, sign
from poller.core.log_ids import LogId, moment_of
from poller.core.text.dates import iso

_UNITS = (
    (timedelta(days=1), "d"),
    (timedelta(hours=1), "h"),
    (timedelta(minutes=1), "min"),
    (timedelta(seconds=1), "s"),
)
_NARROWEST_TEXT = 40


def stream_title(domain: str, source_name: str) -> str:
    """Return the tenant and the source of a stream, as people read them."""
    return f"{domain} {sign('→')} {source_name}"


def counted(number: int, noun: str) -> str:
    """Return "1 dead letter" or "2 dead letters"."""
    if number == 1:
        return f"{number:,} {noun}"
    return f"{number:,} {noun}s"


def lasting(seconds: float) -> str:
    """Return the two largest units of a length of time, such as "2 h 1 min"."""
    left = timedelta(seconds=round(seconds))
    parts: list[str] = []
    for unit, name in _UNITS:
        number, left = divmod(left, unit)
        if number or parts:
            parts.append(f"{number} {name}" if number else "")
        if len(parts) == 2:  # noqa: PLR2004 - nobody reads more than two units
            break
    return " ".join(part for part in parts if part) or "0 s"


def moment_text(log_id: LogId) -> str:
    """Return the time in a log id, or the id itself if it holds no time."""
    moment = moment_of(log_id)
    return iso(moment) if moment else str(log_id)


def laid_out(label: str, text: str, *, width: int | None = None) -> list[str]:
    """Return the lines of a text beside its label.

    On a terminal, lines are broken between words and never inside a word. In a pipe the text stays
    on one line. `width` is the width of the terminal.
    """
    if width is None:
        width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
    if width is None or len(label) + len(text) <= width or not text:
        return [f"{label}{text}".rstrip()]
    indent = " " * len(label)
    words = textwrap.wrap(
        text,
        max(width - len(label), _NARROWEST_TEXT - len(label)),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [f"{label}{words[0]}", *(f"{indent}{line}" for line in words[1:])]
