"""A backlog with the threads that work on it, over fakes and a real ledger."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.core.delivery import BatchSender
from poller.core.forward import forward
from poller.core.log_ids import floor_id
from poller.core.messages import Batch, Identify, Receipt, Track
from poller.core.translation.translator import HistoryTranslator
from poller.service.daemon.backlog_threads import BacklogThreads
from poller.service.daemon.backlog_workers import BacklogWorkers
from poller.service.daemon.helped_slices import Helpers
from poller.service.lifecycle.process import Process
from poller.service.slices.deferred_identify import IdentifyRunner, IdentifySender
from poller.service.slices.queue import Walk
from poller.service.upstream.retry import Backoff
from tests.builders import record
from tests.fakes import NOW, STREAM, FakeDirectory, FakeLog, FakeSink, numbered

HOUR = timedelta(hours=1)
USERS = 7
PATIENCE_S = 60.0
"""The longest wait for an event that must come. It suits a machine that is very slow."""
SHORT = timedelta(milliseconds=1)


class Gate(FakeSink):
    """A sink that is called before each batch, so that a test can stop or fail it."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[Batch], None] = lambda batch: None
        self._lock = threading.Lock()

    def send(self, batch: Batch) -> Receipt:
        self.before(batch)
        with self._lock:
            return super().send(batch)


@dataclass
class Bench:
    """A backlog of five hours, in three slices below a live span."""

    ledger: SqlLedger
    process: Process = field(default_factory=Process)
    sink: Gate = field(default_factory=Gate)
    parallel: int = 3
    threads: BacklogThreads = field(default_factory=BacklogThreads)
    helpers: Helpers | None = None
    begun: int = 0
    """The threads that have begun."""

    def __post_init__(self) -> None:
        self.records = [
            record(number)
            | {
                "user_id": f"auth0|{number % USERS}",
                "log_id": numbered(number, NOW - 6 * HOUR + (number - 0.5) * timedelta(minutes=1)),
            }
            for number in range(1, 301)
        ]
        self.log = FakeLog(self.records, page_size=10)
        self.directory = FakeDirectory(
            {f"auth0|{number}": {"email": f"{number}@x.org"} for number in range(USERS)}
        )
        self.workers = self.start()

    def start(self) -> BacklogWorkers:
        return BacklogWorkers(
            self.walker,
            self.ledger,
            self.process,
            self.identifies,
            parallel=lambda: self.parallel,
            threads=self.threads,
            helpers=self.helpers,
            backoff=lambda: Backoff(first=SHORT, most=SHORT),
        )

    def walker(self) -> Walk:
        self.begun += 1
        translator = HistoryTranslator(STREAM)
        return lambda span: forward(
            self.log, FakeDirectory({}), translator, BatchSender(self.sink), self.ledger, span
        )

    def identifies(self) -> IdentifyRunner:
        return IdentifyRunner(
            self.ledger,
            self.process,
            lambda: IdentifySender(
                self.ledger,
                self.directory,
                HistoryTranslator(STREAM),
                BatchSender(self.sink),
                begun_at=NOW,
                only_news=False,
            ),
            role="run",
            patience=timedelta(0),
        )

    def fall_behind(self, *, since: timedelta = 6 * HOUR, present: timedelta = HOUR) -> None:
        """Begin a catch-up up to the present."""
        live = self.ledger.live_span() or self.ledger.begin(after=floor_id(NOW - since))
        begin, end = NOW - since, NOW - present
        ends = [floor_id(begin + (end - begin) * part / 3) for part in (1, 2)]
        self.ledger.begin_catch_up(live, present=floor_id(end), ends=ends)

    def catch_up(self) -> None:
        self.fall_behind()
        self.workers.look_for_work(NOW)
        self.finish()

    def finish(self) -> None:
        wait_until(lambda: self.workers.state.is_empty and self.ledger.catch_up_since() is None)

    def tracks(self) -> Counter[str]:
        return Counter(each.log_id for each in self.sink.taken if isinstance(each, Track))

    def identified(self) -> Counter[str]:
        return Counter(each.user_id for each in self.sink.taken if isinstance(each, Identify))

    def assert_all_is_sent_once(self) -> None:
        assert self.tracks() == Counter(str(item["log_id"]) for item in self.records)
        assert self.identified() == Counter(f"auth0|{number}" for number in range(USERS))
        assert self.ledger.backlog() == ()
        assert self.ledger.count_pending_identifies() == 0

    def await_stop(self) -> None:
        """Wait until the process was told to stop, and its threads have ended."""
        assert self.process.stopping.wait(PATIENCE_S)
        self.stop()

    def stop(self) -> None:
        self.process.stopping.set()
        assert self.process.settle_down(PATIENCE_S)


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(int(PATIENCE_S / 0.01)):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("never came")
