"""What the program says: log lines with facts as keys, never a body, a token, a key or a person."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import structlog

from poller.core.settlement import Settlement

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(level: str) -> None:
    """Sends structlog's lines to stderr, if there is one: JSON, or coloured columns where it is a terminal.

    The libraries' own loggers stay silent: httpx's lines carry user ids, Segment's the write key.
    """
    stream = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
    is_terminal = stream.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer(pad_event_to=24) if is_terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if is_terminal else "iso", utc=not is_terminal),
            *(() if is_terminal else (_in_reading_order,)),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(_Unfailing(stream)),  # type: ignore[arg-type] # all that it writes to
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    logging.captureWarnings(True)


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


@dataclass(slots=True, kw_only=True)
class CycleCount:
    """What one cycle did so far."""

    pages: int = 0
    read: int = 0
    filtered: int = 0
    forwarded: int = 0
    dead_lettered: int = 0
    newest: datetime | None = None
    served_at: datetime | None = None

    def add(self, settlement: Settlement) -> None:
        page = settlement.page
        self.pages += 1
        self.read += len(page.events)
        self.filtered += len(settlement.filtered)
        self.forwarded += len(settlement.forwarded)
        self.dead_lettered += len(settlement.dead_letters)
        dates = [event.date for event in page.events if event.date is not None]
        self.newest = max([*dates, *([self.newest] if self.newest else [])], default=None)
        self.served_at = page.served_at

    def facts(self) -> dict[str, Any]:
        """The counts, and `lag_s`: how old the newest event was when it was read, by the server's clock."""
        facts: dict[str, Any] = {
            name: getattr(self, name) for name in ("pages", "read", "filtered", "forwarded", "dead_lettered")
        }
        if self.newest and self.served_at:
            facts["lag_s"] = round(max((self.served_at - self.newest).total_seconds(), 0.0), 1)
        return facts
