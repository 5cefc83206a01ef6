"""Files of log events walked at once, a thread each, and what came of each of them."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from poller.core.errors import TransientError
from poller.core.file_pages import FileMark, FilePage, Truncation, UnreadableFileError
from poller.core.translation.log_types import KNOWN_TYPES
from poller.service.backfill.file_walk import TYPE_NAME_LIMIT, FileForwarded, FileWalk, PageReader
from poller.service.lifecycle.process import Failed, Finished, Process, Reason
from poller.service.slices.deferred_identify import IdentifyRunner
from poller.service.slices.workers import PROGRESS_INTERVAL_TICKS

_UNKNOWN_TYPES_LIMIT = 50
_LOGGED_RECORDS_LIMIT = 100
"""Bad records of a file that have a line of the log each; the count is of all."""

log = structlog.get_logger()


class OpenReading(PageReader, AbstractContextManager[Any], Protocol):
    """A reading that can be watched. Its `with` closes the file."""

    @property
    def bytes_done(self) -> int: ...

    @property
    def truncation(self) -> Truncation | None: ...


class ReadableFile(Protocol):
    """A file of log events; whatever is asked of it may raise UnreadableFileError."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def beginning(self) -> bytes: ...

    def read(self, marks: Iterable[FileMark]) -> OpenReading: ...


@dataclass(slots=True, kw_only=True)
class FileCount:
    """What this run did with a file. `offset` and `line` are how far it is settled; `problem` is why no further."""

    file: str
    read: int = 0
    forwarded: int = 0
    filtered: int = 0
    dead_lettered: int = 0
    redated: int = 0
    skipped: int = 0
    repeated: int = 0
    outside: int = 0
    bad_records: int = 0
    texts: int = 0
    unknown_types: dict[str, int] = field(default_factory=dict)
    offset: int = 0
    line: int = 0
    is_done: bool = False
    problem: str | None = None

    def add(self, forwarded: FileForwarded) -> None:
        settlement = forwarded.settlement
        self.read += len(settlement.page.events)
        self.forwarded += len(settlement.forwarded)
        self.filtered += len(settlement.filtered)
        self.dead_lettered += len(settlement.dead_letters)
        self.redated += settlement.redated
        self.skipped += forwarded.skipped
        self.repeated += forwarded.repeated
        self.outside += forwarded.outside
        self.bad_records += len(forwarded.bad) + settlement.page.bad_not_kept
        self.texts += settlement.page.texts
        self._add_unknown_types(settlement.page)
        self.move(settlement.page.end)

    def _add_unknown_types(self, page: FilePage) -> None:
        """Counts the types that are in no list of Auth0's by name, as long as the names are few."""
        for event in page.events:
            if event.type and event.type not in KNOWN_TYPES:
                name = ascii(event.type[:TYPE_NAME_LIMIT])[1:-1]
                if (
                    name not in self.unknown_types
                    and len(self.unknown_types) >= _UNKNOWN_TYPES_LIMIT
                ):
                    name = "other types"
                self.unknown_types[name] = self.unknown_types.get(name, 0) + 1

    def move(self, mark: FileMark) -> None:
        self.offset, self.line = mark.offset, mark.line

    @property
    def is_all_dead(self) -> bool:
        """Whether events of interest were found, and each of them is a dead letter."""
        return self.dead_lettered > 0 and self.forwarded == 0

    def facts(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class FileBackfill:
    """Walks the files in the order given, some at once; `walker` makes what one thread walks with.

    `settled` is told of each page after it is durable.
    """

    def __init__(
        self,
        files: Sequence[ReadableFile],
        walker: Callable[[], FileWalk],
        marks: Callable[[], Iterable[FileMark]],
        process: Process,
        *,
        parallel: int,
        identifying: IdentifyRunner | None = None,
        settled: Callable[[FilePage], None] | None = None,
    ) -> None:
        self._settled = settled or (lambda _: None)
        self._identifying = identifying
        self._walker = walker
        self._marks = marks
        self._process = process
        self._parallel = min(parallel, len(files))
        self._later: queue.SimpleQueue[tuple[ReadableFile, FileCount]] = queue.SimpleQueue()
        self._todo: queue.SimpleQueue[tuple[ReadableFile, FileCount]] = queue.SimpleQueue()
        self._open: dict[str, tuple[FileCount, OpenReading, int]] = {}
        self._beginnings: set[bytes] = set()
        self._lock = threading.Lock()
        self._ticks = 0
        self.counts = [FileCount(file=file.name) for file in files]
        for entry in zip(files, self.counts, strict=True):
            self._todo.put(entry)

    def run(self) -> Reason:
        """Walks them all; ends early by a signal, or by the first failure of a service or of the ledger."""
        workers = [
            threading.Thread(target=self._work, name=f"file-{number}", daemon=True)
            for number in range(self._parallel)
        ]
        self._left = len(workers)
        for worker in workers:
            worker.start()
        return self._process.wait(self._tell)

    def _work(self) -> None:
        reason: Reason | None = None
        with self._process.working():
            try:
                walk = self._walker()
                self._walk_all(walk, self._todo)
                if self._is_last():
                    self._walk_all(walk, self._later)
                    if self._identifying is not None:
                        self._identifying.work()
                    reason = Finished()
            except BaseException as error:  # noqa: BLE001 - told by the main thread, bug or not
                reason = Failed(error)
        if reason is not None:
            self._process.end(reason)

    def _is_last(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left == 0

    def _walk_all(
        self, walk: FileWalk, files: "queue.SimpleQueue[tuple[ReadableFile, FileCount]]"
    ) -> None:
        while not self._process.stopping.is_set():
            try:
                file, count = files.get_nowait()
            except queue.Empty:
                return
            try:
                if files is self._todo and not self._is_first_of_its_kind(file):
                    self._later.put((file, count))
                    continue
                self._walk(walk, file, count)
            except UnreadableFileError as error:
                _give_up(count, "file.unreadable", str(error))
            except TransientError:
                if not self._process.stopping.is_set():
                    raise

    def _is_first_of_its_kind(self, file: ReadableFile) -> bool:
        """Copies are read one after the other: the second goes on from where the first was settled."""
        beginning = file.beginning
        with self._lock:
            is_first = beginning not in self._beginnings
            self._beginnings.add(beginning)
        return is_first

    def _walk(self, walk: FileWalk, file: ReadableFile, count: FileCount) -> None:
        with file.read(self._marks()) as reading:
            count.move(reading.begun_at)
            with self._lock:
                self._open[count.file] = (count, reading, file.size)
            try:
                for forwarded in self._until_stopped(walk.pages(reading)):
                    self._settled(forwarded.settlement.page)
                    _report(count, forwarded)
                    count.add(forwarded)
            finally:
                with self._lock:
                    del self._open[count.file]
            if self._process.stopping.is_set():
                return
            count.is_done = reading.truncation is None
            if reading.truncation is not None:
                _give_up(
                    count,
                    "file.truncated",
                    f"breaks off at line {reading.truncation.line}: {reading.truncation.why}",
                )

    def _until_stopped(self, pages: Iterator[FileForwarded]) -> Iterator[FileForwarded]:
        for forwarded in pages:
            yield forwarded
            if self._process.stopping.is_set():
                return

    def _tell(self) -> None:
        self._ticks += 1
        if self._ticks % PROGRESS_INTERVAL_TICKS:
            return
        done = sum(count.is_done or count.problem is not None for count in self.counts)
        if len(self.counts) > 1:
            log.info("files.progressed", files=len(self.counts), files_done=done)
        with self._lock:
            found = [
                (count, reading.bytes_done, size) for count, reading, size in self._open.values()
            ]
        for count, done, size in found:
            percent = round(100 * done / max(size, 1))
            log.info(
                "file.progressed", bytes_done=done, bytes=size, percent=percent, **count.facts()
            )


def _give_up(count: FileCount, event: str, why: str) -> None:
    count.problem = why
    log.error(event, file=count.file, reason=why)


def _report(count: FileCount, forwarded: FileForwarded) -> None:
    for told, record in enumerate(forwarded.bad, count.bad_records):
        if told < _LOGGED_RECORDS_LIMIT:
            log.warning("record.unreadable", file=count.file, line=record.line, reason=record.why)
    for line in forwarded.settlement.page.text_lines:
        log.warning("text.skipped", file=count.file, line=line, reason="no JSON object")
    bad = {record.log_id for record in forwarded.bad}
    for letter in forwarded.settlement.dead_letters:
        if letter.event.log_id not in bad:
            log.warning(
                "event.dead_lettered",
                log_id=letter.event.log_id,
                reason=letter.reason,
                status=letter.status,
            )
