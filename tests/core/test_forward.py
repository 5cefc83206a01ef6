"""The loop of `forward`: every event is settled exactly once, through failures of every port."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from poller.core.count_names import DEAD_LETTERED, FILTERED, FORWARDED
from poller.core.delivery import BatchSender
from poller.core.errors import ConflictError, FatalError, TransientError
from poller.core.events import parse_events
from poller.core.forward import Forwarded, forward
from poller.core.log_ids import EARLIEST
from poller.core.messages import Delivery, Message, Receipt
from poller.core.pages import Page
from poller.core.settlement import UnaccountedError, build_settlement
from poller.core.translation.translator import LiveTranslator
from tests.builders import KINDS, calls_of_page, record
from tests.fakes import (
    LATER,
    NEVER,
    NOW,
    STORED,
    STREAM,
    FakeDirectory,
    FakeLedger,
    FakeLog,
    FakeSink,
    numbered,
)


class Bench:
    """The ports in memory, bound together as the service binds them."""

    def __init__(self, kinds: list[str], *, page_size: int = 100, refusal_limit: int = 20) -> None:
        self.log = FakeLog(
            [record(number + 1, kind) for number, kind in enumerate(kinds)], page_size=page_size
        )
        self.sink = FakeSink()
        self.directory = FakeDirectory({})
        self.ledger = FakeLedger()
        self.sender = BatchSender(self.sink, refusal_limit=refusal_limit)

    def drain(self) -> list[Forwarded]:
        span = self.ledger.live_span() or self.ledger.begin(after=EARLIEST)
        made = []
        for forwarded in forward(
            self.log, self.directory, LiveTranslator(STREAM), self.sender, self.ledger, span
        ):
            made.append(forwarded)
            if forwarded.settlement.page.is_end:
                break
        return made

    def persevere(self, attempts: int = 100) -> None:
        for _ in range(attempts):
            try:
                self.drain()
            except TransientError:
                continue
            return
        raise AssertionError("never drained")


@settings(deadline=None)
@given(
    st.lists(KINDS, max_size=60),
    st.integers(1, 12),
    st.lists(st.sampled_from([None, LATER, STORED]), max_size=12),
    st.lists(st.sampled_from([None, LATER]), max_size=6),
    st.lists(st.sampled_from([LATER]), max_size=4),
    st.sets(st.integers(1, 60), max_size=4),
)
@example(["s"] * 30, 10, [None, STORED, LATER, STORED], [None, LATER], [LATER], {3, 17})
def test_every_event_is_acknowledged_or_dead_lettered_exactly_once(
    kinds: list[str],
    page_size: int,
    sink_failures: list[Exception | None],
    ledger_failures: list[Exception | None],
    log_failures: list[Exception],
    refused: set[int],
) -> None:
    bench = Bench(kinds, page_size=page_size, refusal_limit=1000)
    bench.sink.failures, bench.ledger.failures, bench.log.failures = (
        sink_failures,
        ledger_failures,
        log_failures,
    )
    bench.sink.refuses = lambda message: int(message.user_id.rpartition("|")[2]) in refused
    try:
        bench.persevere()
    except FatalError:
        # A whole batch refused: then nothing of its page may be settled, which is checked below.
        assert refused
    settled = Counter(bench.ledger.settled)
    assert set(settled.values()) <= {1}
    live = bench.ledger.live_span()
    assert live is not None
    below = [entry for entry in bench.log.records if entry["log_id"] <= live.reached]
    assert sorted(settled) == sorted(entry["log_id"] for entry in below)
    taken = {message.log_id for message in bench.sink.taken}
    for number, kind in enumerate(kinds, 1):
        log_id = numbered(number)
        if log_id > live.reached:
            assert log_id not in bench.ledger.dead_letters
        elif kind in {"s", "ss"} and number not in refused:
            assert log_id in taken
            assert log_id not in bench.ledger.dead_letters
        elif kind in {"w", "ssa"}:
            assert log_id not in taken
        else:
            assert log_id in bench.ledger.dead_letters


@settings(deadline=None)
@given(st.lists(st.sampled_from([None, LATER, STORED]), max_size=10), st.integers(1, 7))
def test_a_message_that_is_sent_again_is_unchanged(
    failures: list[Exception | None], page_size: int
) -> None:
    bench = Bench(["s", "ss"] * 6, page_size=page_size)
    bench.sink.failures = failures
    bench.persevere()
    contents: dict[str, Message] = {}
    for message in bench.sink.taken:
        assert contents.setdefault(message.message_id, message) == message
    assert len(contents) == 24


def test_an_identify_goes_before_its_track_and_events_keep_their_order() -> None:
    bench = Bench(["s"] * 5)
    bench.drain()
    kinds = [(message.log_id, type(message).__name__) for message in bench.sink.taken]
    assert kinds == [(numbered(n), name) for n in range(1, 6) for name in ("Identify", "Track")]


def test_nothing_moves_before_the_acknowledgement() -> None:
    bench = Bench(["s"] * 5)
    bench.sink.failures = [LATER]
    with pytest.raises(TransientError):
        bench.drain()
    live = bench.ledger.live_span()
    assert live is not None
    assert (live.reached, bench.ledger.settled) == (EARLIEST, [])


def test_a_fatal_error_settles_nothing() -> None:
    bench = Bench(["s"] * 5)
    bench.sink.failures = [NEVER]
    with pytest.raises(FatalError):
        bench.drain()
    assert bench.ledger.settled == []


def test_a_page_with_nothing_of_interest_still_moves_the_span_and_asks_for_no_profile() -> None:
    bench = Bench(["w"] * 5)
    (forwarded,) = bench.drain()
    assert forwarded.cursor.reached == numbered(5)
    assert (bench.sink.batches, bench.directory.asked) == ([], [()])


def test_a_clock_that_nobody_bears_out_judges_no_date() -> None:
    bench = Bench(["s"] * 3)
    bench.log.now, bench.log.is_time_believed = datetime(1970, 1, 1, tzinfo=UTC), False
    bench.drain()
    assert bench.ledger.dead_letters == {}
    assert [message.timestamp.year for message in bench.sink.taken] == [2026] * 6


def test_full_pages_follow_at_once_and_a_short_one_ends_the_poll() -> None:
    bench = Bench(["s"] * 25, page_size=10)
    assert [len(forwarded.settlement.page.events) for forwarded in bench.drain()] == [10, 10, 5]


def test_a_bounded_span_ends_at_its_bound() -> None:
    bench = Bench(["s"] * 25, page_size=10)
    span = bench.ledger.begin(after=numbered(3), until=numbered(14))
    made = list(
        forward(
            bench.log, bench.directory, LiveTranslator(STREAM), bench.sender, bench.ledger, span
        )
    )
    assert sorted(bench.ledger.settled) == [numbered(n) for n in range(4, 15)]
    assert made[-1].cursor.is_done


def test_the_culprits_of_a_refused_batch_are_found_and_the_rest_delivered() -> None:
    bench = Bench(["s"] * 40)
    bench.sink.refuses = lambda message: message.user_id in {"auth0|7", "auth0|31"}
    (forwarded,) = bench.drain()
    assert sorted(bench.ledger.dead_letters) == [numbered(7), numbered(31)]
    assert len(forwarded.settlement.forwarded) == 38
    assert {letter.status for letter in forwarded.settlement.dead_letters} == {400}


def test_a_refused_track_makes_a_dead_letter_though_its_identify_was_taken() -> None:
    bench = Bench(["s"] * 4)
    bench.sink.refuses = lambda message: (
        message.user_id == "auth0|2" and message.message_id.startswith("track")
    )
    bench.drain()
    assert set(bench.ledger.dead_letters) == {numbered(2)}


def test_a_batch_of_which_everything_is_refused_is_our_fault_and_not_settled() -> None:
    bench = Bench(["s"] * 3)
    bench.sink.refuses = lambda message: True
    with pytest.raises(FatalError, match="refuses every message"):
        bench.drain()
    assert (bench.ledger.settled, bench.ledger.dead_letters) == ([], {})


def test_a_batch_of_four_messages_is_too_small_to_tell_whose_fault_it_is() -> None:
    bench = Bench(["s"] * 2)
    bench.sink.refuses = lambda message: True
    bench.drain()
    assert set(bench.ledger.dead_letters) == {numbered(1), numbered(2)}


def test_a_batch_of_which_one_message_is_taken_is_no_fault_of_ours() -> None:
    bench = Bench(["s"] * 3)
    bench.sink.refuses = lambda message: message.message_id != bench_track
    bench_track = (
        calls_of_page(LiveTranslator(STREAM), page_of("s", "s", "s"), {}).messages[-1].message_id
    )
    bench.drain()
    assert len(bench.sink.taken) == 1
    assert len(bench.ledger.dead_letters) == 3


def test_everything_refused_of_one_user_may_be_the_data_and_is_dead_lettered() -> None:
    bench = Bench(["s"] * 60, page_size=30, refusal_limit=20)
    for entry in bench.log.records:
        entry["user_id"] = "auth0|bot"
    bench.sink.refuses = lambda message: True
    bench.drain()
    assert len(bench.ledger.dead_letters) == 60


@pytest.mark.parametrize(("limit", "blocked"), [(3, True), (4, False)])
def test_a_run_of_refused_events_over_pages_is_our_fault(limit: int, blocked: bool) -> None:
    bench = Bench(["s"] * 3, page_size=1, refusal_limit=limit)
    bench.sink.refuses = lambda message: True
    try:
        bench.drain()
        assert not blocked
    except FatalError:
        assert blocked
        assert (
            len(bench.ledger.dead_letters) == 2
        )  # what was settled before the run was long enough


def test_an_acceptance_ends_the_run() -> None:
    bench = Bench(["s"] * 9, page_size=1, refusal_limit=3)
    bench.sink.refuses = lambda message: int(message.user_id[-1]) % 3 != 0
    bench.persevere()
    assert len(bench.ledger.dead_letters) == 6


def test_someone_elses_move_conflicts() -> None:
    bench = Bench(["s"] * 3)
    span = bench.ledger.begin(after=EARLIEST)
    bench.drain()
    steps = forward(
        bench.log, bench.directory, LiveTranslator(STREAM), bench.sender, bench.ledger, span
    )
    with pytest.raises(ConflictError):
        next(steps)


def page_of(*kinds: str) -> Page:
    events = parse_events([record(n + 1, kind) for n, kind in enumerate(kinds)], after=EARLIEST)
    return Page(events=events, position=events[-1].log_id, is_end=True, served_at=NOW)


def test_a_message_without_receipt_or_refusal_cannot_be_settled() -> None:
    page = page_of("s", "s")
    calls = calls_of_page(LiveTranslator(STREAM), page, {})
    ids = tuple(message.message_id for message in calls.messages)
    span = FakeLedger().begin(after=EARLIEST)
    with pytest.raises(UnaccountedError, match="neither"):
        build_settlement(span, page, calls, Delivery(receipts=(Receipt(message_ids=ids[:-1]),)))
    whole = Delivery(receipts=(Receipt(message_ids=ids),))
    with pytest.raises(UnaccountedError, match="no outcome or with several"):
        build_settlement(span, page, replace(calls, forwardable=calls.forwardable[:1]), whole)
    assert build_settlement(span, page, calls, whole).forwarded == page.events


def test_tallies_count_by_hour_type_and_outcome() -> None:
    bench = Bench(["s", "s", "w", "no_user", "bad_date"])
    bench.drain()
    found: Counter[tuple[str, str]] = Counter()
    for key, count in bench.ledger.tallies.items():
        found[key.type, key.outcome] += count
    assert found == {("s", FORWARDED): 2, ("w", FILTERED): 1, ("s", DEAD_LETTERED): 2}
    hours = {key.hour.hour for key in bench.ledger.tallies if key.outcome == FORWARDED}
    assert hours == {11}


def test_lost_stretches_are_recorded_with_the_page() -> None:
    bench = Bench(["s"] * 10, page_size=5)
    bench.drain()
    bench.log.records += [record(n) for n in range(11, 21)]
    bench.log.floor = numbered(15)
    bench.drain()
    assert [(gap.after, gap.before) for gap in bench.ledger.lost] == [(numbered(10), numbered(15))]
