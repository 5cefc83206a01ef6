"""The uncompressed bytes of a file, and the fingerprint of its settled beginning.

The fingerprint of a mark is a hash of every byte up to the mark's offset. So the bytes that a
later reading skips are exactly the bytes that were settled. The name of the file does not count:
the fingerprint is found again if the file was moved, compressed or has grown, and in a copy.

This rule needs no special cases. A short file that has grown, two files with an equal beginning,
and a file that was written anew are all read from the last mark that their content still begins
with, or from the start.

The price is to hash the bytes that are skipped, at about a gigabyte per second. The part of the
fingerprint before the first dash is a hash of the first 64 KiB. It shows at once that a file has no
mark.
"""

import gzip
import zlib
from hashlib import blake2b
from pathlib import Path
from typing import Self

from poller.core.file_pages import FileMark, UnreadableFileError

CHUNK = 1 << 20
HEAD = 1 << 16
"""The number of bytes that the first part of a fingerprint covers."""
_GZIP = b"\x1f\x8b"


class Content:
    """One pass over the bytes of a file, forward only. The first bytes tell gzip from plain text.

    Raises:
        UnreadableFileError: the file cannot be read, or not any further.
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
        """The number of bytes read so far, as the file lies on the disk."""
        return self._file.tell()

    def read(self, size: int = CHUNK) -> bytes:
        """Return up to `size` bytes. Fewer bytes do not mean the end. No bytes mean the end."""
        try:
            # `read1` uncompresses one step at a time, so the bytes before a damaged place are kept.
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

    def __exit__(self, *_: object) -> None:
        self.close()


class ContentHash:
    """The running hash of all bytes read so far, and the mark that stands for them.

    A reading of only a part of the events has its own `scope`. It never finds the marks of another
    scope.
    """

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
        copy = ContentHash(self._scope)
        copy._head, copy._whole = self._head.copy(), self._whole.copy()
        copy.offset, copy.line, copy.last = self.offset, self.line, self.last
        return copy

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
