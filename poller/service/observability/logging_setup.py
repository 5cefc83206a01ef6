"""What the program says: log lines with facts as keys, never a body, a token, a key or a person."""

import contextlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, TextIO

import structlog

from poller.core.text.plain_text import visible

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure_logging(level: str, form: str = "auto") -> None:
    """Sends structlog's lines to stderr, if there is one.

    `form` is `auto`, `text` or `json`. `auto` is coloured columns on a terminal, text in systemd's journal, and JSON
    elsewhere. In the journal each line begins with its priority, in any form: journald takes it off.

    The libraries' own loggers stay silent: httpx's lines carry user ids, Segment's the write key.
    """
    stream = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
    is_journal = is_the_journal(stream, os.environ)
    is_terminal = stream.isatty() and form != "json"
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            *_rendering(is_terminal=is_terminal, is_journal=is_journal, form=form),
            *([_with_priority] if is_journal else []),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(_Unfailing(stream)),  # type: ignore[arg-type] # all that it writes to
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    logging.captureWarnings(True)


def is_the_journal(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Tell whether systemd's journal reads this stream, as systemd.exec(5) says under $JOURNAL_STREAM."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(stream.fileno()) if stream else None
    except (OSError, ValueError):
        return False
    return found is not None and (device, inode) == (str(found.st_dev), str(found.st_ino))


def priority(level: str) -> str:
    """Return the prefix that gives a line its priority in the journal, as sd-daemon(3) has it."""
    return f"<{_PRIORITIES[level]}>"


def _rendering(*, is_terminal: bool, is_journal: bool, form: str) -> list[Any]:
    if is_terminal:
        columns = structlog.dev.ConsoleRenderer(pad_event_to=24)
        return [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            _with_visible_facts,
            columns,
        ]
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if form == "json" or (form == "auto" and not is_journal):
        return [stamp, _in_reading_order, structlog.processors.JSONRenderer(), _as_visible]
    # The journal has a time and a priority of its own.
    return [as_text, _as_visible] if is_journal else [stamp, _with_time_and_level, _as_visible]


def _with_visible_facts(
    _logger: Any, _method: str, line: MutableMapping[str, Any]
) -> dict[str, Any]:
    """Escape the facts before colours, which are escape sequences too, come in between."""
    return {
        name: visible(value) if isinstance(value, str) else value for name, value in line.items()
    }


def _as_visible(_logger: Any, _method: str, rendered: str) -> str:
    return visible(rendered)


def as_text(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> str:
    """Write a line for people: the message, then its facts, those of several words in quotes."""
    facts = {
        name: value for name, value in line.items() if name not in {"event", "level", "timestamp"}
    }
    return " ".join(
        [str(line["event"]), *(f"{name}={_as_word(value)}" for name, value in facts.items())]
    )


def _as_word(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    is_plain = text.isprintable() and text and not any(sign in text for sign in ' "=')
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _with_time_and_level(logger: Any, method: str, line: MutableMapping[str, Any]) -> str:
    return f"{line['timestamp']} {line['level']:<7} {as_text(logger, method, line)}"


def _with_priority(_logger: Any, method: str, rendered: Any) -> str:
    return f"{priority(method)}{rendered}"


class _Unfailing:
    """A stream that may be closed, or full: nobody reads the log then, and that is no reason to stop the work."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _in_reading_order(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> dict[str, Any]:
    return {**{name: line[name] for name in ("timestamp", "level", "event")}, **line}


def describe_bug(error: BaseException) -> dict[str, Any]:
    """Where an unexpected error came from, without its text: that may quote an event."""
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error": type(error).__name__, "at": where}
