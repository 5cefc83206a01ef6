"""One reading of a file: its pages, from the settled mark to the end of the file.

A reading ends early if the file breaks off. It also ends at a record that must not be settled: an
event of another tenant, or an event with a type that is not a code of Auth0. `truncation` then
names the line.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

from poller.adapters.log_files.content import Content, ContentHash
from poller.adapters.log_files.envelopes import Unwrap, unwrapped
from poller.adapters.log_files.raw_record import RawRecord
from poller.adapters.log_files.records import Records
from poller.adapters.log_files.shapes import Kind
from poller.adapters.log_files.tenant import foreign_tenant
from poller.core.events import LogEvent, is_derived, parse_events
from poller.core.file_pages import BadRecord, FileMark, FilePage, Truncation
from poller.core.log_ids import LogId
from poller.core.pages import PAGE_SIZE
from poller.core.translation.log_types import is_code

KEPT = 100
"""The most bad records without an id that a reading keeps, and the most lines of text that it
names. It counts the rest."""
_TEXTS_OF_A_PAGE = 10_000
_SHOWN_TYPE = 40
_ID = re.compile(r'"(?:log_id|_id)"\s*:\s*"?[0-9A-Za-z]{8}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """The server's clock, and the time that two clocks agree on, or None."""

    now: Callable[[], datetime]
    believed: Callable[[], datetime | None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """The records at which a reading ends.

    With a `domain`, these are the events of another tenant. With `only_codes`, these are also the
    events whose type does not look like a code of Auth0.
    """

    domain: str | None = None
    only_codes: bool = True

    def reason(self, event: LogEvent, source: str | None) -> str | None:
        """Return why the reading ends at this event, or None."""
        if event.defect:
            return None
        if self.only_codes and not is_code(event.type):
            shown = ascii(event.type[:_SHOWN_TYPE])
            return f"the type {shown} is not a code of Auth0's (--settle-empty reads on)"
        tenant = foreign_tenant(event.record, source, self.domain) if self.domain else None
        if tenant:
            return f"an event of another tenant, {tenant!a} (--any-tenant reads on)"
        return None


@dataclass(slots=True, kw_only=True)
class _Held:
    """The records for the next page."""

    events: list[LogEvent] = field(default_factory=list)
    bad: list[BadRecord] = field(default_factory=list)
    bad_not_kept: int = 0
    texts: int = 0
    text_lines: list[int] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.events) >= PAGE_SIZE or self.texts + self.bad_not_kept >= _TEXTS_OF_A_PAGE


class FileReading:
    """A reading of one file. Use it in a `with` statement, which closes the file.

    After the last page `truncation` tells where and why the reading ended early, or is None.
    """

    def __init__(
        self,
        path: Path,
        content_hash: ContentHash,
        kind: Kind,
        clocks: Clocks,
        refusals: Refusals,
        *,
        is_again: bool = False,
        unwrap: Unwrap = unwrapped,
    ) -> None:
        self._unwrap = unwrap
        self._content_hash = content_hash
        self._kind = kind
        self._clocks = clocks
        self._refusals = refusals
        self._is_again = is_again
        self._content = Content(path)
        self._bad_kept = 0
        self._texts_named = 0
        self.begun_at = content_hash.mark
        self.truncation: Truncation | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._content.close()

    @property
    def bytes_done(self) -> int:
        """The number of bytes read so far, as the file lies on the disk."""
        return self._content.bytes_done

    def pages(self) -> Iterator[FilePage]:
        """Yield the pages in the order of the file, about 100 events each. Call this once.

        Each page moves the mark of the file from `moves` to `end`. The last page moves the mark
        to the end of the file, or to the place where the reading ends early.

        Raises:
            UnreadableFileError: the file cannot be read up to its settled mark.
        """
        self._content.seek(self._content_hash.offset)
        moves: FileMark | None = None
        held = _Held()
        for record in Records(self._content.read, self._content_hash, self._kind, self._unwrap):
            event = event_of(record)
            why = record.why if record.is_truncated else self._refusals.reason(event, record.source)
            if record.is_truncated or why:
                self.truncation = Truncation(line=record.line, why=why or "")
                end = record.before
                break
            self._hold(held, record, event)
            if held.is_full:
                yield self._page(held, moves, moves := self._content_hash.mark)
                held = _Held()
        else:
            end = self._content_hash.mark
        is_further = self.truncation is None and end.offset > (moves or self.begun_at).offset
        if held.events or held.texts or is_further:
            yield self._page(held, moves, end)

    def _hold(self, held: _Held, record: RawRecord, event: LogEvent) -> None:
        if record.is_text:
            held.texts += 1
            if self._texts_named < KEPT:
                self._texts_named += 1
                held.text_lines.append(record.line)
            return
        if event.defect:
            excerpt = record.value if isinstance(record.value, str) else ""
            has_id = not is_derived(event.log_id) or _ID.search(excerpt) is not None
            if not has_id and self._bad_kept >= KEPT:
                held.bad_not_kept += 1
                return
            self._bad_kept += 1
            why = record.why or _lacking(event)
            held.bad.append(BadRecord(log_id=event.log_id, line=record.line, why=why))
        held.events.append(event)

    def _page(self, held: _Held, moves: FileMark | None, end: FileMark) -> FilePage:
        return FilePage(
            events=tuple(held.events),
            bad=tuple(held.bad),
            moves=moves,
            end=end,
            served_at=self._clocks.now(),
            believed_at=self._clocks.believed(),
            is_again=self._is_again,
            bad_not_kept=held.bad_not_kept,
            texts=held.texts,
            text_lines=tuple(held.text_lines),
        )


def event_of(record: RawRecord) -> LogEvent:
    """Return the log event of a record. A record without an id gets one made of its place."""
    (event,) = parse_events([record.value], after=LogId(record.seed))
    return event


def _lacking(event: LogEvent) -> str:
    if event.log_id.startswith("file-"):
        return "no log id"
    return "no type"
