"""A file as the plan of a backfill shows it, and readings of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from poller.adapters.log_files.content import Content, ContentHash
from poller.adapters.log_files.marks import resume
from poller.adapters.log_files.reading import Clocks, FileReading, Refusals, event_of
from poller.adapters.log_files.records import Records
from poller.adapters.log_files.shapes import Kind, kind_of
from poller.core.file_pages import FileMark, UnreadableFileError
from poller.core.log_ids import moment_of

_GLANCE = 1 << 16
"""Bytes that are read of the beginning and of the end, for the plan."""
_BEGINNING = 1 << 10
_STRANGERS = {
    b"\xff\xfe": "UTF-16, not UTF-8",
    b"\xfe\xff": "UTF-16, not UTF-8",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSummary:
    """What a file is and how far it is settled; `first` and `last` are times of events, where they cost little."""

    size: int
    kind: Kind
    is_compressed: bool
    settled: FileMark
    first: datetime | None
    last: datetime | None


class LogFile:
    """One file, read as often as is wanted.

    `scope` names what part of the events is wanted, where it is not all: how far a part was sent says nothing of the
    rest. `refusals` says at which records a reading ends. A file that is read again starts at its beginning, whatever
    is marked. `now` is the server's clock, and `believed` gives a time that two clocks agree on, or None.
    """

    def __init__(
        self,
        path: Path,
        *,
        now: Callable[[], datetime],
        believed: Callable[[], datetime | None] = lambda: None,
        scope: str = "",
        refusals: Refusals | None = None,
        is_again: bool = False,
        name: str | None = None,
    ) -> None:
        self.path = path
        self.name = name or str(path)
        self._refusals = refusals or Refusals()
        self._is_again = is_again
        self._clocks = Clocks(now=now, believed=believed)
        self._scope = scope

    @property
    def size(self) -> int:
        """Bytes on the disk.

        Raises:
            UnreadableFileError: there is no such file.
        """
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise UnreadableFileError(error.strerror or type(error).__name__) from error

    @property
    def beginning(self) -> bytes:
        """So much of the content that files which begin with it are copies, or one file that grew.

        Raises:
            UnreadableFileError: it cannot be read.
        """
        with Content(self.path) as content:
            return content.read(_BEGINNING)

    def read(self, marks: Iterable[FileMark]) -> FileReading:
        """A reading from the last of these marks that is one of this file.

        Raises:
            UnreadableFileError: it cannot be read, or it is no text.
        """
        kind, _ = self._start()
        content_hash = (
            ContentHash(self._scope) if self._is_again else resume(self.path, marks, self._scope)
        )
        return FileReading(
            self.path, content_hash, kind, self._clocks, self._refusals, is_again=self._is_again
        )

    def summarize(self, marks: Iterable[FileMark]) -> FileSummary:
        """Raises:
        UnreadableFileError: as `read`.
        """
        kind, start = self._start()
        with Content(self.path) as content:
            is_compressed = content.is_compressed
        return FileSummary(
            size=self.size,
            kind=kind,
            is_compressed=is_compressed,
            settled=resume(self.path, marks, self._scope).mark,
            first=_moment(start, kind, is_first=True),
            last=None if is_compressed else _moment(self._end(), kind, is_first=False),
        )

    def _start(self) -> tuple[Kind, bytes]:
        with Content(self.path) as content:
            start = content.read(_GLANCE)
        for magic, what in _STRANGERS.items():
            if start.startswith(magic):
                raise UnreadableFileError(f"it is {what}")
        if b"\0" in start:
            raise UnreadableFileError("it is no text")
        return kind_of(start.decode("utf-8", "replace")), start

    def _end(self) -> bytes:
        with Content(self.path) as content:
            content.seek(max(self.size - _GLANCE, 0))
            return content.read(_GLANCE)


def _moment(data: bytes, kind: Kind, *, is_first: bool) -> datetime | None:
    """The time of the first or the last event in a record of the content, which may begin and end anywhere."""
    parts = iter([data])
    found = None
    for record in Records(lambda: next(parts, b""), ContentHash(), kind):
        if record.is_text:
            continue
        event = event_of(record)
        moment = None if record.why or event.defect else event.date or moment_of(event.log_id)
        found = moment or found
        if found and is_first:
            break
    return found
