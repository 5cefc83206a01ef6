"""Files of log events: how far a file is settled, and the pages that it is settled in."""

from dataclasses import dataclass
from datetime import datetime

from poller.core.events import LogEvent
from poller.core.log_ids import LogId


class UnreadableFileError(Exception):
    """The file, or the rest of it, cannot be read, or is not a log. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMark:
    """The end of what is settled of a file: `offset` bytes of its uncompressed content.

    `line` is the number of line ends among these bytes.

    `fingerprint` is a hash of these very bytes. So the mark is found again in any file that begins
    with them: the same file, moved, compressed or grown, and a copy of it.
    """

    fingerprint: str
    offset: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRecord:
    """An event of a page that could not be read, by its id. `line` counts from 1."""

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
    """Log events of a file up to `end`, in the order of the file.

    Their ids may be in any order, and an event may stand in the file twice.

    - `moves` is the mark of this reading that `end` replaces. The first page of a reading replaces
      no mark. A mark of an earlier reading stays, since a copy of the file may end there.
    - `served_at` is the time by the server's clock. `believed_at` is a time that two clocks agree
      on, or None.
    - `is_again` says that the file is read from its beginning, without regard to its marks.
    - `bad_not_kept` counts bad records that are not among the events, since they are too many.
    - `texts` counts lines of text that hold no JSON object. `text_lines` are the first of the file.
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
