"""Threads that walk files of log events, one file each at a time."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from poller.core.errors import TransientError
from poller.core.file_pages import FileMark, FilePage, Truncation, UnreadableFileError
from poller.service.backfill.file_counts import FileCount
from poller.service.backfill.file_walk import FileForwarded, FileWalk, PageReader
from poller.service.lifecycle.process import Failed, Finished, Process, Reason
from poller.service.slices.deferred_identify import IdentifyRunner
from poller.service.slices.workers import PROGRESS_INTERVAL_TICKS

_LOGGED_RECORDS_LIMIT = 100
"""Bad records of a file that have a log line each. The count holds all of them."""

log = structlog.get_logger()


class OpenReading(PageReader, AbstractContextManager[Any], Protocol):
    """A reading that can be watched. Its `with` closes the file."""

    @property
    def bytes_done(self) -> int: ...

    @property
    def truncation(self) -> Truncation | None: ...


class ReadableFile(Protocol):
    """A file of log events. Every access may raise UnreadableFileError."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def beginning(self) -> bytes: ...

    def read(self, marks: Iterable[FileMark]) -> OpenReading: ...


@dataclass(frozen=True, slots=True)
class _FileTask:
    """A file to walk, and the count of the work on it."""

    file: ReadableFile
    count: FileCount


class FileBackfill:
    """Walks files in the order in which they are named, several at a time.

    `walker` makes the walk of one thread. `settled` is called with each page after it is durable.

    Copies of one file are walked one after the other. By the marks, the second copy goes on where
    the first one was settled, so nothing is sent twice. A file whose beginning was seen before
    therefore waits until all other files are done.
    """

    def __init__(
        self,
        files: Sequence[ReadableFile],
        walker: Callable[[], FileWalk],
        marks: Callable[[], Iterable[FileMark]],
        process: Process,
        *,
        parallel: int,
        identifies: IdentifyRunner | None = None,
        settled: Callable[[FilePage], None] = lambda page: None,  # noqa: ARG005 - nobody watches
    ) -> None:
        self._settled = settled
        self._identifies = identifies
        self._walker = walker
        self._marks = marks
        self._process = process
        self._parallel = min(parallel, len(files))
        self._first_files: queue.SimpleQueue[_FileTask] = queue.SimpleQueue()
        self._copies: queue.SimpleQueue[_FileTask] = queue.SimpleQueue()
        self._open: dict[str, tuple[FileCount, OpenReading, int]] = {}
        self._beginnings: set[bytes] = set()
        self._lock = threading.Lock()
        self._workers_left = self._parallel
        self._ticks = 0
        self.counts = [FileCount(file=file.name) for file in files]
        for file, count in zip(files, self.counts, strict=True):
            self._first_files.put(_FileTask(file, count))

    def run(self) -> Reason:
        """Walk all files. End early after a signal, or when a service or the ledger fails."""
        for number in range(self._parallel):
            threading.Thread(target=self._work, name=f"file-{number}", daemon=True).start()
        return self._process.wait(self._log_progress)

    def _work(self) -> None:
        """Walk files until none is left. The last worker walks the copies and sends identifies."""
        reason: Reason | None = None
        with self._process.working():
            try:
                walk = self._walker()
                self._walk_first_files(walk)
                if self._is_last_worker():
                    self._walk_copies(walk)
                    if self._identifies is not None:
                        self._identifies.work()
                    reason = Finished()
            except BaseException as error:  # noqa: BLE001 - the main thread raises it again
                reason = Failed(error)
        if reason is not None:
            self._process.end(reason)

    def _is_last_worker(self) -> bool:
        with self._lock:
            self._workers_left -= 1
            return self._workers_left == 0

    def _walk_first_files(self, walk: FileWalk) -> None:
        for task in self._tasks(self._first_files):
            with _giving_up(task.count):
                if self._is_copy(task.file):
                    self._copies.put(task)
                else:
                    self._walk(walk, task)

    def _walk_copies(self, walk: FileWalk) -> None:
        for task in self._tasks(self._copies):
            with _giving_up(task.count):
                self._walk(walk, task)

    def _tasks(self, tasks: "queue.SimpleQueue[_FileTask]") -> Iterator[_FileTask]:
        while not self._process.stopping.is_set():
            try:
                yield tasks.get_nowait()
            except queue.Empty:
                return

    def _is_copy(self, file: ReadableFile) -> bool:
        """Return whether another file began with the same bytes."""
        beginning = file.beginning
        with self._lock:
            is_copy = beginning in self._beginnings
            self._beginnings.add(beginning)
        return is_copy

    def _walk(self, walk: FileWalk, task: _FileTask) -> None:
        count = task.count
        with task.file.read(self._marks()) as reading:
            count.move(reading.begun_at)
            with self._lock:
                self._open[count.file] = (count, reading, task.file.size)
            try:
                self._forward(walk, reading, count)
            except TransientError:
                # A stop interrupts the wait for the next attempt.
                if not self._process.stopping.is_set():
                    raise
            finally:
                with self._lock:
                    del self._open[count.file]
            if self._process.stopping.is_set():
                return
            count.is_done = reading.truncation is None
            if reading.truncation is not None:
                where = f"breaks off at line {reading.truncation.line}: {reading.truncation.why}"
                _give_up(count, "file.truncated", where)

    def _forward(self, walk: FileWalk, reading: OpenReading, count: FileCount) -> None:
        for forwarded in walk.pages(reading):
            self._settled(forwarded.settlement.page)
            _log_page(count, forwarded)
            count.add(forwarded)
            if self._process.stopping.is_set():
                return

    def _log_progress(self) -> None:
        self._ticks += 1
        if self._ticks % PROGRESS_INTERVAL_TICKS:
            return
        done = sum(count.is_done or count.problem is not None for count in self.counts)
        if len(self.counts) > 1:
            log.info("files.progressed", files=len(self.counts), files_done=done)
        with self._lock:
            open_files = list(self._open.values())
        for count, reading, size in open_files:
            bytes_done = reading.bytes_done
            log.info(
                "file.progressed",
                bytes_done=bytes_done,
                bytes=size,
                percent=round(100 * bytes_done / max(size, 1)),
                **count.facts(),
            )


@contextmanager
def _giving_up(count: FileCount) -> Iterator[None]:
    """Give this file up if it cannot be read. The other files go on."""
    try:
        yield
    except UnreadableFileError as error:
        _give_up(count, "file.unreadable", str(error))


def _give_up(count: FileCount, event: str, why: str) -> None:
    count.problem = why
    log.error(event, file=count.file, reason=why)


def _log_page(count: FileCount, forwarded: FileForwarded) -> None:
    """Log the bad records, the lines of text and the dead letters of a page."""
    left = max(_LOGGED_RECORDS_LIMIT - count.bad_records, 0)
    for record in forwarded.bad[:left]:
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
