"""Each event of the log has exactly one outcome in the ledger, in every history of the service."""

import contextlib
import copy
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
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
from poller.cli.backfill_plan import begin
from poller.core.delivery import BatchSender
from poller.core.errors import ConflictError, FatalError, PollerError, TakenOverError
from poller.core.forward import Forwarded, forward
from poller.core.log_ids import EARLIEST, LogId, floor_id, moment_of
from poller.core.ports import Ledger
from poller.core.settlement import Settlement
from poller.core.spans import (
    LogCursor,
    LogRange,
    SecondReading,
    Span,
    UnreadStretch,
    clip,
    difference,
    is_of_catch_up,
    union,
)
from poller.core.translation.translator import LiveTranslator
from poller.service.backfill.plan import plan
from tests.builders import record
from tests.fakes import LATER, NOW, STORED, STREAM, FakeDirectory, FakeLog, FakeSink, numbered
from tests.walks import Bounds, live_walks

WINDOW = timedelta(minutes=10)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
KINDS = st.lists(
    st.sampled_from(["s", "ss", "w", "ssa", "no_user", "bad_date", "no_type"]),
    min_size=1,
    max_size=25,
)
FAILURES = st.lists(st.sampled_from([None, None, LATER, STORED]), max_size=4)


Ports = tuple[FakeLog, FakeDirectory, LiveTranslator, BatchSender, Ledger]


class Conservation(RuleBasedStateMachine):
    """The live span, second readings, catch-ups and backfills, over one log and one ledger.

    Pages may be short anywhere, the time may not be believed, positions are moved by hand, and
    retention may take events at any moment, also before the first page is settled. The tenant may
    also begin to keep its log for longer. A catch-up may begin while another one is under way, and
    a daemon and a backfill may walk one slice at once.
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
        self.remembered: set[LogId] = set()
        self.skipped: list[LogRange] = []
        self.early: tuple[LogRange, ...] = ()
        self.happen(before)
        self.log.now = NOW
        self.start = start
        self.owners: list[SqlLedger] = []
        self.earlier: list[Callable[[], Iterator[Forwarded]]] = []
        self.stalled: list[tuple[SqlLedger, Settlement]] = []
        self.start_process()
        self.cycle([], [LATER])
        self.begun = self.live().after
        if loses:
            self.log.floor = floor_id(self.log.now)
        self.cycle([], [])

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.finish()
            for owner in self.owners:
                owner.close()
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

    @rule(age=st.sampled_from([3 * HOUR, 9 * HOUR]))
    def keep_the_log_for_longer(self, age: timedelta) -> None:
        """Show events again that retention had removed."""
        self.log.floor = min(self.log.floor, floor_id(self.log.now - age))

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
                self.note(forwarded.settlement)
        self.sink.failures, self.log.failures = [], []

    @rule()
    def restart(self) -> None:
        """Start another process. The one before may have stalled, and lives on."""
        self.earlier.append(self.drain.pages)
        self.start_process()

    def start_process(self) -> None:
        self.ledger = SqlLedger.open(self.url, STREAM, create=True)
        self.owners.append(self.ledger)
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
        reached = self.live().reached
        position = reached if ago is None else floor_id(self.log.now - timedelta(seconds=ago))
        with contextlib.suppress(FatalError):
            set_position(self.url, STREAM, position)
            self.skipped.append(LogRange(after=reached, until=position))
            # What lies above is read and counted once more.
            self.settled = Counter(
                {made: n for made, n in self.settled.items() if made <= position}
            )
            self.remembered = {log_id for log_id in self.remembered if log_id <= position}
            self.early = clip(self.early, LogId(""), position)

    @rule(parts=st.integers(1, 4))
    def catch_up(self, parts: int) -> None:
        """Begin a catch-up, as after an outage, whatever slices an earlier one has left."""
        live, present = self.live(), self.log.now - timedelta(seconds=10)
        begin = moment_of(live.reached)
        assert begin is not None
        ends = [floor_id(begin + (present - begin) * part / parts) for part in range(1, parts)]
        with contextlib.suppress(ConflictError, TakenOverError, ValueError):
            self.ledger.begin_catch_up(live, present=floor_id(present), ends=ends)

    @rule(pages=st.integers(0, 6), beside_a_daemon=st.booleans(), sink=FAILURES)
    def backfill(self, pages: int, beside_a_daemon: bool, sink: list[Exception | None]) -> None:
        """Plan a backfill of everything, begin it, and walk some pages until it is killed."""
        oldest, now = Bounds(self.log).oldest_kept()
        work = plan(
            self.ledger.spans(),
            EARLIEST,
            floor_id(now - WINDOW),
            oldest=oldest,
            revisits=self.ledger.revisits(),
            gaps=self.ledger.gaps(),
        )
        self.sink.failures = list(sink)
        with contextlib.suppress(PollerError):
            cursors = begin(
                self.ledger, work.without_catch_up() if beside_a_daemon else work, 2, is_open=False
            )
            for cursor in cursors[:pages]:
                self.walk(cursor, 1 + pages // 3)
        self.sink.failures = []

    @precondition(lambda self: self.slices())
    @rule(pages=st.integers(1, 4), sink=FAILURES, data=st.data())
    def walk_a_slice(self, pages: int, sink: list[Exception | None], data: st.DataObject) -> None:
        span = data.draw(st.sampled_from(self.slices()))
        self.sink.failures = list(sink)
        with contextlib.suppress(PollerError):
            self.walk(span, pages)
        self.sink.failures = []

    @precondition(lambda self: self.slices())
    @rule(data=st.data())
    def walk_a_slice_twice_at_once(self, data: st.DataObject) -> None:
        """Let two workers read and send the same page. One of them settles it."""
        span = data.draw(st.sampled_from(self.slices()))
        with contextlib.suppress(PollerError):
            own = self.ledger.begin_work(span)
            assert own is not None
            first, second = (self.pages_of(own) for _ in range(2))
            self.note(next(first).settlement)
            moved = self.ledger.begin_work(own)
            if moved is None or moved.reached > span.reached:
                with pytest.raises(ConflictError):
                    next(second)

    @precondition(lambda self: self.slices())
    @rule(part=st.floats(0.1, 0.9), data=st.data())
    def cut_what_is_left(self, part: float, data: st.DataObject) -> None:
        span = data.draw(st.sampled_from(self.slices()))
        begin, end = moment_of(span.reached), moment_of(span.until or span.reached)
        assert begin is not None
        assert end is not None
        with contextlib.suppress(ValueError, TakenOverError):
            own = self.ledger.begin_work(span)
            assert own is not None
            halves = self.ledger.cut(own, floor_id(begin + (end - begin) * part))
            assert all(is_of_catch_up(half) == span.is_catch_up for half in halves)

    @precondition(lambda self: self.ledger.revisits())
    @rule(pages=st.integers(1, 4), data=st.data())
    def walk_a_revisit(self, pages: int, data: st.DataObject) -> None:
        revisit = data.draw(st.sampled_from(self.ledger.revisits()))
        with contextlib.suppress(PollerError):
            self.walk(revisit, pages)

    # What a process does that has stalled

    @rule(data=st.data())
    def stall(self, data: st.DataObject) -> None:
        """Read and send a page of any span, and stall before it is settled."""
        with contextlib.suppress(PollerError):
            own = self.ledger.begin_work(data.draw(st.sampled_from(self.ledger.spans())))
            if own is not None and not own.is_done:
                owner = copy.copy(self.ledger)
                vars(owner)["settle"] = lambda made: self.stalled.append((self.ledger, made))
                next(forward(*self.ports(owner), own))

    @precondition(lambda self: self.stalled)
    @rule()
    def wake_up(self) -> None:
        """Settle the page at last. It is refused if another process works on its span now."""
        owner, settlement = self.stalled.pop()
        found = [span for span in self.ledger.spans() if span.id == settlement.cursor.id]
        if found and found[0].fence > settlement.cursor.fence:
            with pytest.raises(TakenOverError):
                owner.settle(settlement)
            return
        with contextlib.suppress(ConflictError):
            owner.settle(settlement)
            self.note(settlement)

    @precondition(lambda self: self.earlier)
    @rule()
    def let_an_earlier_process_go_on(self) -> None:
        """Let a process that was taken over read the ledger again. It settles nothing."""
        is_taken_over = self.live().fence == self.ledger.fence
        with contextlib.suppress(PollerError):
            for forwarded in self.earlier.pop()():
                assert not is_taken_over
                self.note(forwarded.settlement)

    @precondition(lambda self: self.slices())
    @rule(pages=st.integers(1, 4), data=st.data())
    def walk_a_slice_in_another_process(self, pages: int, data: st.DataObject) -> None:
        daemon, fence = self.ledger, self.live().fence
        self.ledger = SqlLedger.open(self.url, STREAM, create=False)
        self.owners.append(self.ledger)
        self.walk(data.draw(st.sampled_from(self.slices())), pages)
        assert self.live().fence == fence
        self.ledger = daemon

    # What must hold

    @invariant()
    def nothing_is_settled_twice(self) -> None:
        assert set(getattr(self, "settled", Counter()).values()) <= {1}

    def finish(self) -> None:
        """Read everything to its end without failures, and check every event's outcome."""
        self.log.is_time_believed, self.log.shown = True, None
        self.start_process()
        for span in (*self.slices(), *self.ledger.revisits()):
            self.walk(span, 1000)
        for _ in range(4):
            self.cycle([], [])
            self.pass_time(700)
        assert self.slices() == []
        assert self.ledger.backlog() == ()
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
            elif not is_covered:
                is_skipped = any(each.after < log_id <= each.until for each in self.skipped)
                is_owed = log_id > self.begun and not (is_skipped or is_lost)
                assert not is_owed, f"{log_id} belongs to no span"
        assert sum(totals.values()) == self.counted

    @invariant()
    def no_finished_span_touches_another(self) -> None:
        spans = self.ledger.spans() if hasattr(self, "ledger") else ()
        assert not any(
            below.is_done and below.until == above.after for below, above in pairwise(spans)
        )

    @invariant()
    def one_span_is_live_and_no_two_overlap(self) -> None:
        spans = self.ledger.spans() if hasattr(self, "begun") else ()
        assert all(
            below.until is not None and below.until <= above.after
            for below, above in pairwise(spans)
        )
        assert not spans or spans[-1].is_live

    @invariant()
    def no_two_unread_stretches_overlap(self) -> None:
        stretches = self.ledger.unread_stretches() if hasattr(self, "begun") else ()
        assert all(
            below.until is not None and below.until <= above.reached
            for below, above in pairwise(stretches)
        )

    @invariant()
    def every_settled_id_is_known_where_the_log_is_read_again(self) -> None:
        if not hasattr(self, "begun"):
            return
        ahead = self.still_to_be_read_again()
        expected = [
            log_id
            for log_id in self.remembered
            if any(each.after < log_id <= each.until for each in ahead)
        ]
        cursor = replace(self.live(), reached=EARLIEST)
        assert self.ledger.not_settled(cursor, expected) == frozenset()

    @invariant()
    def all_that_was_read_too_early_is_read_again(self) -> None:
        if hasattr(self, "begun"):
            assert difference(self.early, self.still_to_be_read_again()) == ()

    # How

    def still_to_be_read_again(self) -> list[LogRange]:
        """Return what second readings will pass, by what the ledger says."""
        unread = self.ledger.unread_stretches()
        open_spans = [span for span in self.ledger.spans() if not span.is_done]
        return [
            *(LogRange(after=each.reached, until=each.until or each.reached) for each in unread),
            *(LogRange(after=span.confirmed, until=span.reached) for span in open_spans),
        ]

    def insert(self, kind: str, at: object) -> str:
        self.numbers += 1
        log_id = numbered(self.numbers, at)  # type: ignore[arg-type]
        self.log.records.append(record(self.numbers, kind) | {"log_id": log_id})
        self.log.records.sort(key=lambda made: str(made["log_id"]))
        return str(log_id)

    def slices(self) -> list[Span]:
        """Return the bounded spans that are not finished, of backfills and of catch-ups."""
        spans = self.ledger.spans() if hasattr(self, "ledger") else ()
        return [span for span in spans if not span.is_live and not span.is_done]

    def pages_of(self, cursor: LogCursor) -> Iterator[Forwarded]:
        return forward(*self.ports(self.ledger), cursor)

    def ports(self, ledger: Ledger) -> Ports:
        return (
            self.log,
            FakeDirectory({}),
            LiveTranslator(STREAM),
            BatchSender(self.sink),
            ledger,
        )

    def walk(self, cursor: LogCursor, pages: int) -> None:
        own = self.ledger.begin_work(cursor)
        for number, forwarded in enumerate(self.pages_of(own) if own else (), 1):
            self.note(forwarded.settlement)
            if forwarded.settlement.page.is_end or number == pages:
                return

    def live(self) -> Span:
        live = self.ledger.live_span()
        assert live is not None
        return live

    def note(self, settlement: Settlement) -> None:
        self.counted += len([*settlement.by_event()])
        self.settled.update(event.log_id for event, _ in settlement.by_event())
        self.remembered.update(settlement.ids_to_remember)
        cursor, page = settlement.cursor, settlement.page
        read = LogRange(after=cursor.reached, until=page.position)
        if isinstance(cursor, Span):
            believed = page.believed_at
            early = clip([read], floor_id(believed - WINDOW), read.until) if believed else (read,)
            self.early = union([*self.early, *early])
        elif isinstance(cursor, SecondReading | UnreadStretch):
            self.early = difference(self.early, [read])


REPEATABLE = settings(
    max_examples=25, stateful_step_count=30, suppress_health_check=list(HealthCheck)
)
SEARCHING = settings(REPEATABLE, max_examples=3000, derandomize=False, print_blob=True)

TestConservation = Conservation.TestCase
TestConservation.settings = REPEATABLE


@pytest.mark.soak
def test_no_event_is_lost_or_doubled_in_thousands_of_histories() -> None:
    run_state_machine_as_test(Conservation, settings=SEARCHING)
