"""Files of log events: how far one is settled, and what is settled of it at once."""

from dataclasses import dataclass
from datetime import datetime

from poller.core.events import LogEvent
from poller.core.log_ids import LogId


class UnreadableFileError(Exception):
    """The file, or what is left of it, cannot be read, or is no log; its text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMark:
    """How far a file is settled: `offset` bytes of its content, uncompressed, with `line` line ends among them.

    `fingerprint` is made of these very bytes, so that the mark is found again in whatever file begins with them.
    """

    fingerprint: str
    offset: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRecord:
    """An event of a page that could not be read, by the id that it got; `line` counts from 1."""

    log_id: LogId
    line: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    """The place where a file breaks off in the middle of a record. `line` counts from 1."""

    line: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePage:
    """Log events as they stand in a file up to `end`, in any order, doubled perhaps.

    `moves` is the mark of this same reading that `end` takes the place of; the first page of a reading has none, and
    what was marked before stays: a copy of the file may end there. `served_at` is the server's clock.
    `believed_at` is a time that two clocks agree on, or None. `is_again`: whatever is marked, the file is read from its
    beginning. Of bad records `bad_not_kept` are not among the events, since there are too many of them. `texts` counts
    lines of text that hold no JSON object, and `text_lines` names the first of the file.
    """

    events: tuple[LogEvent, ...]
    bad: tuple[BadRecord, ...]
    moves: FileMark | None
    end: FileMark
    served_at: datetime
    believed_at: datetime | None = None
    is_again: bool = False
    bad_not_kept: int = 0
    texts: int = 0
    text_lines: tuple[int, ...] = ()
