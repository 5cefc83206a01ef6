"""The log: lines on stderr, each an event with facts as keys.

A line never holds a body, a token, a key or a person. Everything that comes from outside is
escaped, so a log line cannot move the cursor of a terminal or fake another line.
"""

import contextlib
import json
import logging
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, TextIO, cast

import structlog
from structlog.typing import Processor

from poller.core.text.plain_text import visible

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""The priorities of syslog, in the form of sd-daemon(3)."""


def configure_logging(level: str, form: str = "auto", *steps: Processor) -> None:
    """Send the lines of structlog to stderr, if there is one.

    `level` is the name of a level of the standard library, in lower case. `form` is `auto`, `text`
    or `json`. `auto` means coloured columns on a terminal, text in systemd's journal, and JSON
    everywhere else. In the journal each line begins with its priority, in every form, and journald
    removes it.

    Each line goes through the `steps` before it is written.

    The loggers of the libraries stay silent: the lines of httpcore hold user ids, and the lines of
    Segment's library hold the write key.
    """
    stream = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - open as long as the process
    is_journal = is_the_journal(stream, os.environ)
    is_terminal = stream.isatty() and form != "json"
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,  # the pipeline, if there are several
            structlog.processors.add_log_level,
            *steps,
            *_rendering(is_terminal=is_terminal, is_journal=is_journal, form=form),
            *([_with_priority] if is_journal else []),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _NeverFailing(stream))),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    logging.captureWarnings(True)


def is_the_journal(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    """Return whether systemd's journal reads this stream (systemd.exec(5), $JOURNAL_STREAM)."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno()) if stream else None
    except (OSError, ValueError):
        return False
    return status is not None and (device, inode) == (str(status.st_dev), str(status.st_ino))


def priority(level: str) -> str:
    """Return the prefix that gives a line its priority in the journal (sd-daemon(3))."""
    return f"<{_PRIORITIES[level]}>"


def _rendering(*, is_terminal: bool, is_journal: bool, form: str) -> list[Any]:
    """Return the processors of structlog that turn the facts into a line."""
    if is_terminal:
        columns = structlog.dev.ConsoleRenderer(pad_event_to=24)
        stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
        return [stamp, _with_visible_facts, columns]
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if form == "json" or (form == "auto" and not is_journal):
        return [stamp, _in_reading_order, structlog.processors.JSONRenderer(), _as_visible]
    if is_journal:
        return [_as_text, _as_visible]  # the journal adds its own time and priority
    return [stamp, _with_time_and_level, _as_visible]


def _with_visible_facts(
    _logger: Any, _method: str, line: MutableMapping[str, Any]
) -> dict[str, Any]:
    """Escape the facts before the colours are added, which are escape sequences too."""
    return {
        name: visible(value) if isinstance(value, str) else value for name, value in line.items()
    }


def _as_visible(_logger: Any, _method: str, rendered: str) -> str:
    return visible(rendered)


def _as_text(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> str:
    """Write a line for people: the event, then its facts. A fact of several words is in quotes."""
    facts = {
        name: value for name, value in line.items() if name not in {"event", "level", "timestamp"}
    }
    return " ".join(
        [str(line["event"]), *(f"{name}={_as_word(value)}" for name, value in facts.items())]
    )


def _as_word(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    is_plain = text.isprintable() and text and not any(sign in text for sign in ' "=')
    if is_plain:
        return text
    return json.dumps(text, ensure_ascii=False)


def _with_time_and_level(logger: Any, method: str, line: MutableMapping[str, Any]) -> str:
    return f"{line['timestamp']} {line['level']:<7} {_as_text(logger, method, line)}"


def _with_priority(_logger: Any, method: str, rendered: Any) -> str:
    return f"{priority(method)}{rendered}"


def _in_reading_order(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> dict[str, Any]:
    return {**{name: line[name] for name in ("timestamp", "level", "event")}, **line}


class _NeverFailing:
    """A stream that may be closed or full. An unread log must not stop the work.

    structlog uses no other method of a stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def describe_bug(error: BaseException) -> dict[str, Any]:
    """Return the kind of an unexpected error and its stack, without its text.

    The text may quote an event.
    """
    frames = traceback.extract_tb(error.__traceback__)
    stack = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error": type(error).__name__, "at": stack}
