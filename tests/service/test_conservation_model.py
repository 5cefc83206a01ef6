"""Each event of the log has exactly one outcome in the ledger, in every history of the service."""

import contextlib
import tempfile
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from poller.adapters.sql_ledger.dead_letters import DeadLetterStore
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.adapters.sql_ledger.set_position import set_position
from poller.core.delivery import BatchSender
from poller.core.errors import ConflictError, FatalError, PollerError
from poller.core.forward import Forwarded, forward
from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.spans import Span
from poller.core.translation.translator import LiveTranslator
from tests.builders import record
from tests.fakes import LATER, NOW, STORED, STREAM, FakeDirectory, FakeLog, FakeSink, numbered
from tests.walks import live_walks

WINDOW = timedelta(minutes=10)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
KINDS = st.lists(
    st.sampled_from(["s", "ss", "w", "ssa", "no_user", "bad_date", "no_type"]),
    min_size=1,
    max_size=25,
)
FAILURES = st.lists(st.sampled_from([None, None, LATER, STORED]), max_size=4)


class Conservation(RuleBasedStateMachine):
    """The live span, second readings, and slices below it, over one log and one ledger.

    Pages may be short anywhere, the time may not be believed, positions are moved by hand, and
    retention may take events at any moment, also before the first page is settled.
    """

    @initialize(
        before=KINDS,
        start=st.sampled_from([floor_id(NOW - MINUTE), "earliest", None]),
        loses=st.booleans(),
    )
    def begin(
        self, before: list[str], start: LogId | Literal["earliest"] | None, loses: bool
    ) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.url = f"sqlite:///{Path(self.folder.name) / 'ledger.db'}"
        self.log = FakeLog([], page_size=4)
        self.log.now = NOW - HOUR
        self.sink = FakeSink()
        self.numbers = 0
        self.ticks = 0.0
        self.settled: Counter[str] = Counter()
        self.counted = 0
        self.happen(before)
        self.log.now = NOW
        self.start = start
        self.ledger = SqlLedger.open(self.url, STREAM, create=True)
        self.restart()
        self.cycle([], [LATER])
        if loses:
            self.log.floor = floor_id(self.log.now)
        self.cycle([], [])

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.finish()
            self.ledger.close()
            self.folder.cleanup()

    # What happens

    @rule(kinds=KINDS)
    def happen(self, kinds: list[str]) -> None:
        for kind in kinds:
            self.insert(kind, self.log.now)

    @rule(kinds=KINDS, ago=st.integers(1, 500))
    def come_late(self, kinds: list[str], ago: int) -> None:
        if self.log.now - timedelta(seconds=ago) > NOW:
            for kind in kinds:
                self.insert(kind, self.log.now - timedelta(seconds=ago))

    @rule(seconds=st.sampled_from([1, 30, 61, 300, 700, 4000]))
    def pass_time(self, seconds: int) -> None:
        self.log.now += timedelta(seconds=seconds)
        self.ticks += seconds

    @rule(age=st.sampled_from([HOUR, 2 * HOUR]))
    def forget_what_is_old(self, age: timedelta) -> None:
        self.log.floor = max(self.log.floor, floor_id(self.log.now - age))

    @rule(shown=st.sampled_from([None, 1, 2, 3]))
    def cut_pages(self, shown: int | None) -> None:
        self.log.shown = shown

    @rule(is_believed=st.booleans())
    def set_a_clock(self, is_believed: bool) -> None:
        self.log.is_time_believed = is_believed

    # What the program does

    @rule(sink=FAILURES, log=st.lists(st.just(LATER), max_size=2))
    def cycle(self, sink: list[Exception | None], log: list[Exception]) -> None:
        self.sink.failures, self.log.failures = list(sink), list(log)
        with contextlib.suppress(PollerError):
            for forwarded in self.drain.pages():
                self.note(forwarded)
        self.sink.failures, self.log.failures = [], []

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = SqlLedger.open(self.url, STREAM, create=True)
        self.drain = live_walks(
            self.log,
            self.sink,
            self.ledger,
            start=self.start,
            window=WINDOW,
            monotonic=lambda: self.ticks,
        )

    @rule(begin=st.integers(0, 30), length=st.integers(1, 15))
    def cut_a_slice(self, begin: int, length: int) -> None:
        live = self.live()
        ids = [
            LogId(str(made["log_id"]))
            for made in self.log.records
            if str(made["log_id"]) <= live.after
        ]
        if begin + length < len(ids):
            with contextlib.suppress(ConflictError):
                self.ledger.begin(after=ids[begin], until=ids[begin + length])

    @rule(reaches_down=st.integers(1, 3000))
    def cut_a_slice_up_to_the_live_span(self, reaches_down: int) -> None:
        live = self.live()
        end = moment_of(live.after)
        assert end is not None
        with contextlib.suppress(ConflictError):
            self.ledger.begin(
                after=floor_id(end - timedelta(seconds=reaches_down)), until=live.after
            )

    @rule(ago=st.sampled_from([None, 0, 5, 90, 400, 1500]))
    def set_the_position(self, ago: int | None) -> None:
        position = (
            self.live().reached if ago is None else floor_id(self.log.now - timedelta(seconds=ago))
        )
        with contextlib.suppress(FatalError):
            set_position(self.url, STREAM, position)
            # What lies above is read and counted once more.
            self.settled = Counter(
                {made: n for made, n in self.settled.items() if made <= position}
            )

    @precondition(
        lambda self: any(not span.is_live and not span.is_done for span in self.ledger.spans())
    )
    @rule(pages=st.integers(1, 4), sink=FAILURES, data=st.data())
    def walk_a_slice(self, pages: int, sink: list[Exception | None], data: st.DataObject) -> None:
        span = data.draw(
            st.sampled_from([s for s in self.ledger.spans() if not s.is_live and not s.is_done])
        )
        self.sink.failures = list(sink)
        with contextlib.suppress(PollerError):
            self.walk(span, pages)
        self.sink.failures = []

    # What must hold

    @invariant()
    def nothing_is_settled_twice(self) -> None:
        assert set(getattr(self, "settled", Counter()).values()) <= {1}

    def finish(self) -> None:
        """Read everything to its end without failures, and check every event's outcome."""
        self.log.is_time_believed, self.log.shown = True, None
        for span in self.ledger.spans():
            if not span.is_live and not span.is_done:
                self.walk(span, 1000)
        for _ in range(4):
            self.cycle([], [])
            self.pass_time(700)
        assert self.ledger.unread_stretches() == ()
        with self.ledger._database.reading() as connection:
            ids = connection.exec_driver_sql("SELECT log_id FROM recent_id").scalars().all()
        assert all(log_id > self.live().confirmed for log_id in ids)
        self.check()

    def check(self) -> None:
        reader, graveyard = LedgerReader.open(self.url), DeadLetterStore.open(self.url)
        try:
            spans, gaps = reader.spans(STREAM), reader.gaps(STREAM)
            totals = reader.totals(STREAM)
            dead = {letter.log_id for page in graveyard.pages() for letter in page}
        finally:
            reader.close()
            graveyard.close()
        taken = Counter(
            message.log_id
            for message in self.sink.taken
            if message.message_id.startswith(("track", "sig"))
        )
        for made in self.log.records:
            log_id = str(made["log_id"])
            is_covered = any(span.after < log_id <= span.reached for span in spans)
            is_lost = any(gap.after < log_id < gap.before for gap in gaps)
            is_forwardable = (
                made["type"] in {"s", "ss"} and made["user_id"] and made["date"] != "soon"
            )
            if log_id in self.settled:
                assert is_covered
                assert (log_id in dead) == (made["type"] not in {"w", "ssa"} and not is_forwardable)
                assert bool(taken[log_id]) == bool(is_forwardable)  # type: ignore[index]
            elif is_covered and made["type"] not in {"w", "ssa"}:
                assert is_lost, f"{log_id} is covered, and has no outcome"
        assert sum(totals.values()) == self.counted

    @invariant()
    def no_finished_span_touches_another(self) -> None:
        spans = self.ledger.spans() if hasattr(self, "ledger") else ()
        assert not any(
            below.is_done and below.until == above.after for below, above in pairwise(spans)
        )

    # How

    def insert(self, kind: str, at: object) -> str:
        self.numbers += 1
        log_id = numbered(self.numbers, at)  # type: ignore[arg-type]
        self.log.records.append(record(self.numbers, kind) | {"log_id": log_id})
        self.log.records.sort(key=lambda made: str(made["log_id"]))
        return str(log_id)

    def walk(self, span: Span, pages: int) -> None:
        ports = (
            self.log,
            FakeDirectory({}),
            LiveTranslator(STREAM),
            BatchSender(self.sink),
            self.ledger,
        )
        for number, forwarded in enumerate(forward(*ports, span), 1):
            self.note(forwarded)
            if forwarded.settlement.page.is_end or number == pages:
                return

    def live(self) -> Span:
        live = self.ledger.live_span()
        assert live is not None
        return live

    def note(self, forwarded: Forwarded) -> None:
        self.counted += len([*forwarded.settlement.by_event()])
        self.settled.update(event.log_id for event, _ in forwarded.settlement.by_event())


REPEATABLE = settings(
    max_examples=40, stateful_step_count=30, suppress_health_check=list(HealthCheck)
)
SEARCHING = settings(REPEATABLE, max_examples=3000, derandomize=False, print_blob=True)

TestConservation = Conservation.TestCase
TestConservation.settings = REPEATABLE


@pytest.mark.soak
def test_no_event_is_lost_or_doubled_in_thousands_of_histories() -> None:
    run_state_machine_as_test(Conservation, settings=SEARCHING)
