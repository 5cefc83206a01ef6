"""An index of the ledger's file marks, and the search for the last mark of a file.

A folder may hold thousands of files, and the ledger thousands of marks. The index finds the marks
of one file by a hash of the file's head, without comparing all of them.
"""

import threading
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

from poller.adapters.log_files.content import CHUNK, HEAD, Content, ContentHash
from poller.core.file_pages import FileMark


class MarkIndex:
    """File marks by the length and the hash of their head. Thread-safe.

    The head is the first 64 KiB of the settled bytes, or all of them if there are fewer.
    """

    def __init__(self, marks: Iterable[FileMark]) -> None:
        self._heads: dict[int, dict[str, list[FileMark]]] = {}
        self._lengths: list[int] = []
        self._lock = threading.Lock()
        for mark in marks:
            self._add(mark)

    def __iter__(self) -> Iterator[FileMark]:
        with self._lock:
            return iter(
                [
                    mark
                    for of_length in self._heads.values()
                    for marks in of_length.values()
                    for mark in marks
                ]
            )

    def move(self, old: FileMark | None, new: FileMark) -> None:
        """Add the new mark, and remove the old one if there is one."""
        with self._lock:
            if old is not None:
                of_head = self._heads[min(old.offset, HEAD)][_head_of(old)]
                of_head.remove(old)
            self._add(new)

    def candidates(self, start: bytes, scope: str) -> list[FileMark]:
        """Return the marks of the scope that may belong to a file with these first bytes.

        If `start` is shorter than a head, it is the whole content. A mark at its very end then
        covers the file, and no other mark is needed.
        """
        with self._lock:
            if len(start) < HEAD and (
                whole := self._marks_of(
                    len(start), blake2b(start, digest_size=8).hexdigest(), scope
                )
            ):
                return whole
            candidates: list[FileMark] = []
            hashed, done = blake2b(digest_size=8), 0
            for length in self._lengths[: bisect_right(self._lengths, len(start))]:
                hashed.update(start[done:length])
                done = length
                candidates += self._marks_of(length, hashed.hexdigest(), scope)
            return candidates

    def _add(self, mark: FileMark) -> None:
        length = min(mark.offset, HEAD)
        if length not in self._heads:
            self._heads[length] = {}
            insort(self._lengths, length)
        self._heads[length].setdefault(_head_of(mark), []).append(mark)

    def _marks_of(self, length: int, head: str, scope: str) -> list[FileMark]:
        marks = self._heads.get(length, {}).get(head, ())
        return [
            mark
            for mark in marks
            if mark.fingerprint.partition("-")[2].partition("-")[2] in {"", scope}
        ]


def resume(path: Path, marks: Iterable[FileMark], scope: str) -> ContentHash:
    """Return the hash of the longest settled beginning of the file, as far as these marks tell.

    A mark counts if it has this scope, or no scope: without a scope all events were sent.

    Raises:
        UnreadableFileError: the file cannot be read up to a mark.
    """
    index = marks if isinstance(marks, MarkIndex) else MarkIndex(marks)
    candidates = index.candidates(_start_of(path), scope)
    with Content(path) as content:
        settled, content_hash = ContentHash(scope), ContentHash(scope)
        for mark in sorted(candidates, key=lambda mark: mark.offset):
            _read_to(content, content_hash, mark.offset)
            if (
                content_hash.offset == mark.offset
                and mark.fingerprint.split("-")[1] == content_hash.whole
            ):
                settled = content_hash.copy()
    return settled


def _head_of(mark: FileMark) -> str:
    return mark.fingerprint.partition("-")[0]


def _start_of(path: Path) -> bytes:
    start = b""
    with Content(path) as content:
        while len(start) < HEAD and (data := content.read(HEAD - len(start))):
            start += data
    return start


def _read_to(content: Content, content_hash: ContentHash, offset: int) -> None:
    while content_hash.offset < offset and (
        data := content.read(min(CHUNK, offset - content_hash.offset))
    ):
        content_hash.advance(data)
