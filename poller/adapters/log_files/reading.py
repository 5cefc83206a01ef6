"""One reading of a file: pages from where it was settled to its end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from poller.adapters.log_files.content import Content, Trace
from poller.adapters.log_files.records import Kind, Piece, Records
from poller.core.events import LogEvent, LogId, parse_events
from poller.core.files import BadRecord, FileMark, FilePage

PAGE_SIZE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Torn:
    """Where a file breaks off: what comes from this line on is not settled, and looked at again by the next reading."""

    line: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """The server's clock, and the time that two clocks agree on, or None."""

    now: Callable[[], datetime]
    believed: Callable[[], datetime | None] = lambda: None


class Reading:
    """Closed by its `with`. After the last page `torn` says where the file breaks off, if it does."""

    def __init__(self, path: Path, trace: Trace, kind: Kind, clocks: Clocks) -> None:
        self._trace = trace
        self._kind = kind
        self._clocks = clocks
        self._content = Content(path)
        self.begun_at = trace.mark
        self.torn: Torn | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._content.close()

    @property
    def bytes_done(self) -> int:
        """Bytes of the file as it lies on the disk."""
        return self._content.bytes_done

    def pages(self) -> Iterator[FilePage]:
        """Once; about 100 events each, and the last one moves the mark to the end.

        Raises:
            UnreadableFileError: it cannot be read up to where it was settled.
        """
        self._content.seek(self._trace.offset)
        moves: FileMark | None = None
        held: list[Piece] = []
        for piece in Records(self._content.read, self._trace, self._kind):
            if piece.is_torn:
                self.torn = Torn(line=piece.line, why=piece.why or "")
                end = piece.before
                break
            held.append(piece)
            if len(held) == PAGE_SIZE:
                yield self._page(held, moves, moves := self._trace.mark)
                held = []
        else:
            end = self._trace.mark
        if held or end.offset > (moves or self.begun_at).offset:
            yield self._page(held, moves, end)

    def _page(self, pieces: list[Piece], moves: FileMark | None, end: FileMark) -> FilePage:
        events = tuple(event_of(piece) for piece in pieces)
        bad = tuple(
            BadRecord(log_id=event.log_id, line=piece.line, why=piece.why or _lacking(event))
            for event, piece in zip(events, pieces, strict=True)
            if event.defect
        )
        return FilePage(
            events=events,
            bad=bad,
            moves=moves,
            end=end,
            served_at=self._clocks.now(),
            believed_at=self._clocks.believed(),
        )


def event_of(piece: Piece) -> LogEvent:
    """The log event; without an id of its own it has one that its place in the file makes."""
    (event,) = parse_events([piece.value], after=LogId(piece.seed))
    return event


def _lacking(event: LogEvent) -> str:
    return "no log id" if event.log_id.startswith("file-") else "no type"
