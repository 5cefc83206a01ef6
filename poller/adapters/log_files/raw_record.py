"""A record of a file, before it is checked."""

from dataclasses import dataclass, field
from typing import Any

from poller.core.file_pages import FileMark


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRecord:
    """One record of a file, or an excerpt of a text that is not a record.

    Attributes:
        value: the log event without its envelopes, or the excerpt.
        source: the `source` that an event bus adds to the event, or None.
        is_text: the text is not a JSON object at all, such as a comment. It is only counted.
        line: the line of the file, from 1.
        seed: a name of the place in the file. An event without an id gets its id from it.
        before: the mark of the place before the record.
        why: the reason why the value is not a record, or None for a record.
        is_truncated: the record is cut off, and may be whole at a later reading. It is the last
            record, and the file can be settled up to `before` only.
    """

    value: Any = field(repr=False)
    source: str | None = None
    is_text: bool = False
    line: int
    seed: str
    before: FileMark
    why: str | None = None
    is_truncated: bool = False
