"""The walk through a file sends each event once that is not settled yet."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.core.delivery import BatchSender
from poller.core.errors import ConflictError, FatalError, TransientError
from poller.core.events import LogEvent, parse_events
from poller.core.file_pages import UnreadableFileError
from poller.core.log_ids import EARLIEST, LogId, floor_id
from poller.core.spans import Gap, Span
from poller.core.translation.translator import HistoryTranslator
from poller.service.backfill.file_selection import (
    EventChooser,
    RangeFilter,
    RecentIds,
    SettledIds,
)
from poller.service.backfill.file_walk import FileForwarded, FileWalk
from tests.builders import KINDS, record
from tests.fake_time import Stopping
from tests.fakes import (
    LATER,
    NEVER,
    NOW,
    STORED,
    STREAM,
    FakeDirectory,
    FakeFileLedger,
    FakeReading,
    FakeSink,
    numbered,
)

NONE = timedelta(milliseconds=1)
TAKEN = TransientError("stored", retry_after=timedelta(seconds=1))


class Bench:
    def __init__(self, wanted: RangeFilter | None = None) -> None:
        self.sink = FakeSink()
        self.ledger = FakeFileLedger()
        self.directory = FakeDirectory({})
        self.wanted = wanted or RangeFilter()
        self.recent = RecentIds()

    def walk(
        self, reading: FakeReading, *, patience: timedelta = NONE, settles_empty: bool = False
    ) -> list[FileForwarded]:
        walk = FileWalk(
            profiles=self.directory,
            translator=HistoryTranslator(STREAM),
            sender=BatchSender(self.sink),
            ledger=self.ledger,
            chooser=EventChooser(self.ledger, self.wanted, self.recent),
            stopping=Stopping(),
            patience=patience,
            settles_empty=settles_empty,
        )
        return list(walk.pages(reading))

    @property
    def sent(self) -> list[LogId]:
        return [message.log_id for message in self.sink.taken]


def span(after: int, reached: int, until: int | None = None) -> Span:
    end = None if until is None else numbered(until)
    return Span(
        id=after, stream=STREAM, after=numbered(after), reached=numbered(reached), until=end
    )


def records(*numbers: int) -> list[dict[str, object]]:
    return [record(number) for number in numbers]


def test_tracks_only_and_in_any_order() -> None:
    bench = Bench()
    bench.walk(FakeReading(records(3, 1), records(2)))
    assert bench.sent == [numbered(3), numbered(1), numbered(2)]
    assert {message.message_id.partition("-")[0] for message in bench.sink.taken} == {"track"}


def test_events_in_settled_spans_are_skipped_and_events_in_their_gaps_are_sent() -> None:
    bench = Bench()
    bench.ledger.begin(after=numbered(2), until=numbered(9))
    bench.ledger._spans[1] = span(2, 6, 9)
    bench.ledger.lost.append(Gap(after=numbered(3), before=numbered(5)))
    (forwarded,) = bench.walk(FakeReading(records(*range(1, 11))))
    assert bench.sent == [numbered(number) for number in (1, 2, 4, 7, 8, 9, 10)]
    choice = forwarded.choice
    assert (choice.skipped, choice.outside, choice.repeated) == (3, 0, 0)
    assert sum(bench.ledger.tallies.values()) == 7


def test_spans_that_move_between_two_pages_are_read_again() -> None:
    bench = Bench()
    bench.ledger.begin(after=numbered(0), until=numbered(9))
    chooser = EventChooser(bench.ledger, RangeFilter(), RecentIds())
    events = parse_events(records(1, 2, 3, 4, 5), after=EARLIEST)
    for reached in (2, 4):
        bench.ledger._spans[1] = span(0, reached, 9)
        expected = [numbered(number) for number in range(reached + 1, 6)]
        assert list(chooser.choose(events).chosen) == expected


def test_a_gap_that_was_read_once_is_settled() -> None:
    gap = Gap(after=numbered(3), before=numbered(5), is_read_once=True)
    assert SettledIds([span(0, 9)], [gap]).holds(numbered(4))


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10)), max_size=6),
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=3),
    st.integers(0, 42),
)
def test_settled_is_the_union_of_the_spans_without_the_gaps(
    spans: list[tuple[int, int]], gaps: list[tuple[int, int]], number: int
) -> None:
    settled = SettledIds(
        [span(after, after + length) for after, length in spans],
        [Gap(after=numbered(after), before=numbered(after + length)) for after, length in gaps],
    )
    is_in_gap = any(after < number < after + length for after, length in gaps)
    is_in_span = any(after < number <= after + length for after, length in spans)
    assert settled.holds(numbered(number)) == (is_in_span and not is_in_gap)
    assert not settled.holds(LogId(f"{numbered(number)}+001"))


def test_a_repeated_record_is_sent_once_within_a_page_and_within_a_run() -> None:
    bench = Bench()
    first, second = bench.walk(FakeReading(records(1, 2, 1), records(2, 3)))
    (other,) = bench.walk(FakeReading(records(3, 4)))
    assert bench.sent == [numbered(number) for number in (1, 2, 3, 4)]
    assert [forwarded.choice.repeated for forwarded in (first, second, other)] == [1, 1, 1]
    assert sum(bench.ledger.tallies.values()) == 4


def test_recent_ids_forget_the_oldest_beyond_their_capacity() -> None:
    recent = RecentIds(capacity=3)
    recent.add(LogId(str(number)) for number in range(5))
    assert [str(number) in recent for number in range(5)] == [False, False, True, True, True]


def test_a_range_takes_what_is_above_its_beginning_up_to_its_end_and_what_has_no_id() -> None:
    bench = Bench(RangeFilter(since=numbered(2), until=numbered(4)))
    (forwarded,) = bench.walk(FakeReading([*records(1, 2, 3, 4, 5), {"type": "s"}]))
    assert bench.sent == [numbered(3), numbered(4)]
    assert (forwarded.choice.outside, len(forwarded.bad)) == (3, 1)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 40), KINDS), min_size=1, max_size=12),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.sampled_from([None, LATER, TAKEN]), max_size=8),
    st.lists(st.sampled_from([None, LATER]), max_size=8),
    st.integers(0, 40),
)
def test_every_event_is_sent_or_dead_or_settled_elsewhere_and_nothing_is_settled_before(
    pages: list[list[tuple[int, str]]],
    sink_failures: list[Exception | None],
    ledger_failures: list[Exception | None],
    reached: int,
) -> None:
    bench = Bench()
    bench.ledger._spans[1] = span(0, reached)
    bench.sink.failures, bench.ledger.failures = list(sink_failures), list(ledger_failures)
    kinds: dict[int, str] = {}
    shown = [
        [record(number, kinds.setdefault(number, kind)) for number, kind in page] for page in pages
    ]
    offset = done = 0
    while done < len(shown):
        reading = FakeReading(*shown[done:], begun_at=offset)
        before = len(bench.ledger.marks)
        try:
            bench.walk(reading)
        except TransientError:
            bench.recent = RecentIds()
        marks = {mark.offset for mark in bench.ledger.marks}
        assert before <= len(bench.ledger.marks)
        ends = [10 * sum(map(len, shown[: number + 1])) for number in range(len(shown))]
        done = max((number + 1 for number, end in enumerate(ends) if end in marks), default=0)
        offset = 10 * sum(map(len, shown[:done]))
        if not any(map(len, shown[done:])):
            break
    settled = set(bench.ledger.settled)
    assert settled == {numbered(number) for number in kinds if number > reached}
    dead = {log_id for log_id in settled if log_id in bench.ledger.dead_letters}
    due = {numbered(n) for n, kind in kinds.items() if n > reached and kind in {"s", "ss"}}
    assert due - dead <= set(bench.sent)


def test_a_page_without_a_receipt_is_not_settled() -> None:
    bench = Bench()
    bench.sink.failures = [None, NEVER]
    with pytest.raises(FatalError):
        bench.walk(FakeReading(records(1), records(2)))
    assert [mark.offset for mark in bench.ledger.marks] == [10]
    assert bench.ledger.settled == [numbered(1)]


def test_the_page_in_hand_is_tried_again_after_a_transient_error() -> None:
    bench = Bench()
    bench.sink.failures = [LATER, STORED]
    assert len(bench.walk(FakeReading(records(1)), patience=timedelta(seconds=10))) == 1
    assert bench.ledger.settled == [numbered(1)]


def test_a_page_that_another_process_settled_conflicts_and_is_not_overwritten() -> None:
    bench = Bench()
    bench.walk(FakeReading(records(1)))
    with pytest.raises(ConflictError):
        bench.walk(FakeReading(records(2)))
    assert bench.ledger.settled == [numbered(1)]


def test_a_file_that_begins_with_nothing_but_bad_records_is_not_taken_for_a_log() -> None:
    bench = Bench()
    junk = [{"event": "Logged In"} for _ in range(10)]
    with pytest.raises(UnreadableFileError, match="line 1"):
        bench.walk(FakeReading(junk, records(1)))
    assert (bench.ledger.marks, bench.ledger.dead_letters) == ([], {})
    bench.walk(FakeReading(records(1), junk))
    assert len(bench.ledger.dead_letters) == 10
    bench.walk(FakeReading(junk, begun_at=1000))
    assert EARLIEST not in bench.ledger.settled


@pytest.mark.parametrize(
    "log_id",
    ["49570000000000000000000000000000000000000000000000000001", "5a0f3e5e2d7c4b0012345678", "0"],
)
@pytest.mark.parametrize(("days", "is_wanted"), [(-1, True), (1, False)])
def test_an_event_whose_id_holds_no_time_is_judged_by_its_date(
    log_id: str, days: int, is_wanted: bool
) -> None:
    event = LogEvent(log_id=LogId(log_id), type="s", date=NOW, record={})
    assert RangeFilter().holds(event)
    assert RangeFilter(since=floor_id(NOW + timedelta(days=days))).holds(event) == is_wanted
    assert RangeFilter(until=floor_id(NOW - timedelta(days=days))).holds(event) == is_wanted
    assert RangeFilter(since=floor_id(NOW)).holds(replace(event, date=None))


def of_type(*kinds: str) -> list[dict[str, object]]:
    return [record(number) | {"type": kind} for number, kind in enumerate(kinds, 1)]


def test_a_file_without_a_known_type_is_not_settled_unless_it_is_wanted() -> None:
    bench = Bench()
    with pytest.raises(UnreadableFileError, match="not published: 'login' 2 times, 'quux' 1 times"):
        bench.walk(FakeReading(of_type("login", "login"), of_type("quux")))
    with pytest.raises(UnreadableFileError, match="not published"):
        bench.walk(FakeReading(*[of_type("login")] * 21, of_type("s")))
    assert (bench.ledger.marks, bench.ledger.settled) == ([], [])
    assert len(bench.walk(FakeReading(of_type("login"), of_type("quux")), settles_empty=True)) == 2
    assert len(bench.walk(FakeReading(of_type("login"), of_type("quux", "fp"), begun_at=1000))) == 2


def test_pages_before_the_first_known_type_are_settled_with_it() -> None:
    bench = Bench()
    pages = bench.walk(FakeReading([record(7) | {"type": "quux"}], of_type("s")))
    assert [len(page.settlement.page.events) for page in pages] == [1, 1]
    assert bench.sent == [numbered(1)]
