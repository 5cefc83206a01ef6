"""Files that are read in parallel: a summary for each, failures, and copies."""

import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

from poller.adapters.log_files import LogFile
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.delivery import BatchSender
from poller.core.errors import FatalError
from poller.core.messages import Batch, Receipt
from poller.core.translation.translator import HistoryTranslator
from poller.service.backfill.file_counts import FileCount
from poller.service.backfill.file_selection import EventChooser, RangeFilter, RecentIds
from poller.service.backfill.file_walk import FileWalk
from poller.service.backfill.file_workers import FileBackfill
from poller.service.lifecycle.process import Failed, Finished, Process, Reason, Signalled
from poller.service.slices.workers import PROGRESS_INTERVAL_TICKS
from tests.builders import record
from tests.fakes import NEVER, NOW, STREAM, FakeDirectory, FakeSink


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = SqlLedger.open(f"sqlite:///{folder / 'ledger.db'}", STREAM, create=True)
        self.sink = FakeSink()
        self.process = Process()

    def write(self, name: str, data: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    def work(self, *paths: Path, parallel: int = 4) -> FileBackfill:
        def walker() -> FileWalk:
            return FileWalk(
                profiles=FakeDirectory({}),
                translator=HistoryTranslator(STREAM),
                sender=BatchSender(self.sink),
                ledger=self.ledger,
                chooser=EventChooser(self.ledger, RangeFilter(), RecentIds(capacity=1)),
                patience=timedelta(milliseconds=1),
            )

        files = [LogFile(path, now=lambda: NOW) for path in paths]
        return FileBackfill(files, walker, self.ledger.file_marks, self.process, parallel=parallel)

    def run(self, *paths: Path, parallel: int = 4) -> tuple[Reason, list[FileCount]]:
        work = self.work(*paths, parallel=parallel)
        return work.run(), work.counts


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.ledger.close()


def lines(*numbers: int) -> str:
    return "".join(f"{json.dumps(record(number))}\n" for number in numbers)


def test_the_result_of_each_file_is_reported(bench: Bench) -> None:
    whole = bench.write("whole", lines(*range(1, 251)))
    torn = bench.write("torn", lines(*range(300, 310))[:-20])
    packed = bench.write("packed", "PK\3\4")
    bad = bench.write("bad", lines(401) + "{no json\n" + lines(402))
    reason, (first, second, third, fourth) = bench.run(whole, torn, packed, bad)
    assert isinstance(reason, Finished)
    assert (first.read, first.forwarded, first.line, first.is_done, first.problem) == (
        250,
        250,
        250,
        True,
        None,
    )
    assert (second.read, second.line, second.is_done) == (9, 9, False)
    assert str(second.problem).startswith("breaks off at line 10")
    assert (third.read, third.is_done, third.problem) == (0, False, "it is a zip archive")
    assert (fourth.read, fourth.bad_records, fourth.dead_lettered, fourth.is_done) == (
        3,
        1,
        1,
        True,
    )
    assert len({message.message_id for message in bench.sink.taken}) == 250 + 9 + 2


def test_copies_read_at_once_are_settled_and_counted_once(bench: Bench) -> None:
    text = lines(*range(1, 1501))
    paths = [bench.write(str(number), text) for number in range(3)]
    paths += [bench.write("packed", gzip.compress(text.encode()))]
    reason, counts = bench.run(*paths)
    assert isinstance(reason, Finished), reason
    assert all(count.is_done for count in counts)
    assert sum(count.read for count in counts) == sum(count.forwarded for count in counts) == 1500
    assert [mark.offset for mark in bench.ledger.file_marks()][-1] == len(text)


def test_a_failure_that_needs_someone_ends_the_run_and_loses_nothing(bench: Bench) -> None:
    bench.sink.failures = [None, NEVER]
    path = bench.write("log", lines(*range(1, 301)))
    reason, (count,) = bench.run(path)
    assert isinstance(reason, Failed)
    assert isinstance(reason.error, FatalError)
    assert (count.read, count.is_done) == (100, False)
    bench.process = Process()
    _, (count,) = bench.run(path)
    assert (count.read, count.is_done) == (200, True)
    assert len(bench.sink.taken) == 300


def test_a_stop_lets_the_page_in_hand_settle_and_no_other(bench: Bench) -> None:
    path = bench.write("log", lines(*range(1, 301)))
    process = bench.process

    class Stopping(FakeSink):
        def send(self, batch: Batch) -> Receipt:
            process.stopping.set()
            return super().send(batch)

    bench.sink = Stopping()
    process.end(Signalled(15))
    work = bench.work(path)
    assert isinstance(work.run(), Signalled)
    assert process.settle_down()
    (count,) = work.counts
    assert (count.read, count.is_done, count.problem) in {(0, False, None), (100, False, None)}
    assert sum(len(batch.messages) for batch in bench.sink.batches) == count.read


def test_the_progress_of_each_open_file_is_logged_now_and_then(bench: Bench) -> None:
    path = bench.write("log", lines(*range(1, 201)))
    work = bench.work(path)
    told: list[Any] = []

    class Watching(FakeSink):
        def send(self, batch: Batch) -> Receipt:
            with structlog.testing.capture_logs() as logs:
                for _ in range(PROGRESS_INTERVAL_TICKS):
                    work._log_progress()
            told.extend(logs)
            return super().send(batch)

    bench.sink = Watching()
    work.run()
    assert [(line["event"], line["read"], line["bytes"]) for line in told] == [
        ("file.progressed", 0, path.stat().st_size),
        ("file.progressed", 100, path.stat().st_size),
    ]
    assert told[-1]["bytes_done"] == path.stat().st_size
