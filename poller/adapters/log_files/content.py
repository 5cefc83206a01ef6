"""The bytes of a file, uncompressed, and how a stretch from its beginning is known again.

A mark's fingerprint is a hash of every byte up to its offset, so what is skipped is, byte for byte, what was settled.
It is found again in the file itself, moved, compressed or grown, and in a copy. A short file that grew, two files with
an equal beginning, one that was written anew: none is a special case, each is read on from the last mark that it
still begins with, or from its start. The price is to hash what is skipped (about a gigabyte a second); the part before
the dash, a hash of the first 64 KiB, spares it where nothing can be found.
"""

import gzip
import zlib
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

from poller.core.file_pages import FileMark, UnreadableFileError

CHUNK = 1 << 20
HEAD = 1 << 16
"""Bytes of a file that the first part of a fingerprint is a hash of."""
_GZIP = b"\x1f\x8b"


class Content:
    """One pass over a file, forward only; compressed or not is told by its first bytes.

    Raises:
        UnreadableFileError: it cannot be read, or no further.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("rb")
            self.is_compressed = self._file.read(len(_GZIP)) == _GZIP
            self._file.seek(0)
        except OSError as error:
            raise UnreadableFileError(error.strerror or type(error).__name__) from error
        self._content = gzip.GzipFile(fileobj=self._file) if self.is_compressed else self._file

    @property
    def bytes_done(self) -> int:
        """Bytes of the file as it lies on the disk."""
        return self._file.tell()

    def read(self, size: int = CHUNK) -> bytes:
        """Up to so many bytes, fewer before the end too; none at the end."""
        try:
            # One step at a time: what was uncompressed before the damage is not lost with it.
            return self._content.read1(size)
        except (EOFError, zlib.error) as error:
            raise UnreadableFileError("the compressed data is damaged or cut off") from error
        except OSError as error:
            raise UnreadableFileError(error.strerror or "the compressed data is damaged") from error

    def seek(self, offset: int) -> None:
        try:
            self._content.seek(offset)
        except (EOFError, zlib.error, OSError) as error:
            raise UnreadableFileError("it cannot be read up to where it was settled") from error

    def close(self) -> None:
        self._content.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ContentHash:
    """What was read so far, and the mark that stands for it. `scope` keeps apart what was read for another purpose."""

    def __init__(self, scope: str = "") -> None:
        self._scope = scope
        self._head = blake2b(digest_size=8)
        self._whole = blake2b(digest_size=16)
        self.offset = 0
        self.line = 0
        self.last = b""

    def advance(self, data: bytes) -> None:
        if self.offset < HEAD:
            self._head.update(data[: HEAD - self.offset])
        self._whole.update(data)
        self.offset += len(data)
        self.line += data.count(b"\n")
        self.last = data.rstrip()[-1:] or self.last

    def copy(self) -> "ContentHash":
        made = ContentHash(self._scope)
        made._head, made._whole = self._head.copy(), self._whole.copy()
        made.offset, made.line, made.last = self.offset, self.line, self.last
        return made

    @property
    def head(self) -> str:
        return self._head.hexdigest()

    @property
    def whole(self) -> str:
        return self._whole.hexdigest()

    @property
    def mark(self) -> FileMark:
        scope = f"-{self._scope}" if self._scope else ""
        return FileMark(
            fingerprint=f"{self.head}-{self.whole}{scope}", offset=self.offset, line=self.line
        )
