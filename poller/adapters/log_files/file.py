"""A file of log events: the summary that the plan of a backfill shows, and its readings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from poller.adapters.log_files.content import Content, ContentHash
from poller.adapters.log_files.envelopes import Unwrap, unwrapped
from poller.adapters.log_files.marks import resume
from poller.adapters.log_files.reading import Clocks, FileReading, Refusals, event_of
from poller.adapters.log_files.records import Records
from poller.adapters.log_files.shapes import Kind, kind_of
from poller.core.file_pages import FileMark, UnreadableFileError
from poller.core.log_ids import moment_of

_GLANCE = 1 << 16
"""The number of bytes that a summary reads at the beginning and at the end."""
_BEGINNING = 1 << 10
_OTHER_FORMATS = {
    b"\xff\xfe": "UTF-16, not UTF-8",
    b"\xfe\xff": "UTF-16, not UTF-8",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSummary:
    """The kind of a file, and how far it is settled.

    `first` and `last` are the times of the first and the last event. A time is None if no event
    with a time is found near that end of the file. `last` is always None for a compressed file.
    """

    size: int
    kind: Kind
    is_compressed: bool
    settled: FileMark
    first: datetime | None
    last: datetime | None


class LogFile:
    """One file of log events. It can be read any number of times.

    Args:
        path: the file.
        now: the server's clock.
        believed: a time on which two clocks agree, or None.
        scope: the name of the part of the events that is read, or "" for all events. Each scope
            has its own marks, because the marks of a part say nothing about the rest.
        refusals: the records at which a reading ends.
        unwrap: takes a log event out of its envelopes.
        is_again: ignore the marks, and start at the beginning of the file.
        name: the name that is shown to people, the path by default.
    """

    def __init__(  # noqa: PLR0913 - the file, the clocks, and what is read of the file
        self,
        path: Path,
        *,
        now: Callable[[], datetime],
        believed: Callable[[], datetime | None] = lambda: None,
        scope: str = "",
        refusals: Refusals | None = None,
        is_again: bool = False,
        unwrap: Unwrap = unwrapped,
        name: str | None = None,
    ) -> None:
        self.path = path
        self.name = name or str(path)
        self._refusals = refusals or Refusals()
        self._is_again = is_again
        self._unwrap = unwrap
        self._clocks = Clocks(now=now, believed=believed)
        self._scope = scope

    @property
    def size(self) -> int:
        """The number of bytes on the disk.

        Raises:
            UnreadableFileError: the file does not exist.
        """
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise UnreadableFileError(error.strerror or type(error).__name__) from error

    @property
    def beginning(self) -> bytes:
        """The first bytes of the content, up to 1 KiB.

        Two files of which one begins with the `beginning` of the other are copies, or one file
        that has grown.

        Raises:
            UnreadableFileError: the file cannot be read.
        """
        with Content(self.path) as content:
            return content.read(_BEGINNING)

    def read(self, marks: Iterable[FileMark]) -> FileReading:
        """Return a reading that starts at the last of these marks that belongs to this file.

        Raises:
            UnreadableFileError: the file cannot be read, or is not text.
        """
        kind, _ = self._start()
        content_hash = (
            ContentHash(self._scope) if self._is_again else resume(self.path, marks, self._scope)
        )
        return FileReading(
            self.path,
            content_hash,
            kind,
            self._clocks,
            self._refusals,
            is_again=self._is_again,
            unwrap=self._unwrap,
        )

    def summarize(self, marks: Iterable[FileMark]) -> FileSummary:
        """Return the kind of the file, its size, and how far these marks settle it.

        Raises:
            UnreadableFileError: the file cannot be read, or is not text.
        """
        kind, start = self._start()
        with Content(self.path) as content:
            is_compressed = content.is_compressed
        return FileSummary(
            size=self.size,
            kind=kind,
            is_compressed=is_compressed,
            settled=resume(self.path, marks, self._scope).mark,
            first=self._moment(start, kind, is_first=True),
            last=None if is_compressed else self._moment(self._end(), kind, is_first=False),
        )

    def _start(self) -> tuple[Kind, bytes]:
        with Content(self.path) as content:
            start = content.read(_GLANCE)
        for magic, name in _OTHER_FORMATS.items():
            if start.startswith(magic):
                raise UnreadableFileError(f"it is {name}")
        if b"\0" in start:
            raise UnreadableFileError("it is not text")
        return kind_of(start.decode("utf-8", "replace")), start

    def _end(self) -> bytes:
        with Content(self.path) as content:
            content.seek(max(self.size - _GLANCE, 0))
            return content.read(_GLANCE)

    def _moment(self, data: bytes, kind: Kind, *, is_first: bool) -> datetime | None:
        """Return the time of the first or the last event in this part of a file, or None.

        The part may begin and end within a record.
        """
        parts = iter([data])
        latest = None
        for record in Records(lambda: next(parts, b""), ContentHash(), kind, self._unwrap):
            if record.is_text:
                continue
            event = event_of(record)
            moment = None if record.why or event.defect else event.date or moment_of(event.log_id)
            latest = moment or latest
            if latest and is_first:
                break
        return latest
