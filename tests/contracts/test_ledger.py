"""The contract of every Ledger: it settles a page as a whole, or refuses it without a trace."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.reader import LedgerReader
from poller.core.count_names import DEAD_LETTERED, FILTERED, FORWARDED
from poller.core.errors import ConflictError
from poller.core.events import parse_events
from poller.core.log_ids import EARLIEST, LogId, floor_id
from poller.core.messages import Delivery, Receipt, Refusal
from poller.core.pages import Page
from poller.core.ports import Ledger
from poller.core.settlement import build_settlement
from poller.core.spans import LogCursor, Span
from poller.core.translation.rules import Rules
from poller.core.translation.translator import LiveTranslator
from tests.adapters.sql_ledger.dialects import DIALECTS, url_of
from tests.builders import calls_of_page, page, record, settlement
from tests.fakes import NOW, STREAM, FakeLedger, numbered

Counts = Callable[[], dict[str, int]]


def totals_of(ledger: Ledger, url: str) -> dict[str, int]:
    if isinstance(ledger, FakeLedger):
        found = dict.fromkeys((FORWARDED, FILTERED, DEAD_LETTERED), 0)
        for key, count in ledger.tallies.items():
            found[key.outcome] += count
        return found
    reader = LedgerReader.open(url)
    try:
        return reader.totals(STREAM)
    finally:
        reader.close()


@pytest.fixture(params=["fake", *DIALECTS])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    return url_of(kind, request)


@pytest.fixture
def ledger(kind: str, url: str) -> Iterator[Ledger]:
    if kind == "fake":
        yield FakeLedger()
        return
    made = SqlLedger.open(url, STREAM, create=True)
    yield made
    made.close()


@pytest.fixture
def counts(ledger: Ledger, url: str) -> Counts:
    return lambda: totals_of(ledger, url)


def test_a_new_ledger_is_empty(ledger: Ledger, counts: Counts) -> None:
    assert (ledger.live_span(), ledger.spans()) == (None, ())
    assert set(counts().values()) == {0}


def test_a_span_begins_with_nothing_settled(ledger: Ledger) -> None:
    live = ledger.begin(after=numbered(50))
    slice_ = ledger.begin(after=numbered(10), until=numbered(50))
    assert (live.reached, live.is_live, slice_.is_done) == (live.after, True, False)
    assert ledger.spans() == (slice_, live)
    assert ledger.live_span() == live


@pytest.mark.parametrize(
    ("after", "until"),
    [(60, None), (40, 60), (50, 51), (0, 51), (11, 20), (0, 11), (20, 30), (5, 45)],
)
def test_spans_never_overlap(ledger: Ledger, after: int, until: int | None) -> None:
    ledger.begin(after=numbered(50))
    ledger.begin(after=numbered(10), until=numbered(40))
    before = ledger.spans()
    with pytest.raises(ConflictError):
        ledger.begin(after=numbered(after), until=numbered(until) if until else None)
    assert ledger.spans() == before


@pytest.mark.parametrize(("after", "until"), [(40, 50), (0, 10), (1, 2)])
def test_spans_may_touch(ledger: Ledger, after: int, until: int) -> None:
    ledger.begin(after=numbered(50))
    ledger.begin(after=numbered(10), until=numbered(40))
    ledger.begin(after=numbered(after), until=numbered(until))


def test_a_span_ends_above_its_beginning(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="ends above"):
        ledger.begin(after=numbered(5), until=numbered(5))


def test_to_settle_moves_the_span_and_counts(ledger: Ledger, counts: Counts) -> None:
    span = ledger.begin(after=EARLIEST)
    span = ledger.settle(settlement(span, page(1, 2, 3)))
    assert (span.reached, span.drained_at) == (numbered(3), None)
    span = ledger.settle(settlement(span, page(4, kind="w", position=7, is_end=True)))
    assert (span.reached, span.drained_at) == (numbered(7), NOW)
    assert ledger.live_span() == span
    assert {outcome: count for outcome, count in counts().items() if count} == {
        FORWARDED: 3,
        FILTERED: 1,
    }


def test_an_empty_page_at_the_end_is_a_drain(ledger: Ledger) -> None:
    span = ledger.begin(after=numbered(5))
    empty = Page(events=(), position=span.reached, is_end=True, served_at=NOW, drained_to=NOW)
    assert ledger.settle(settlement(span, empty)).drained_at == NOW


def test_an_end_without_a_time_is_no_drain(ledger: Ledger) -> None:
    span = ledger.begin(after=numbered(5))
    empty = Page(events=(), position=span.reached, is_end=True, served_at=NOW)
    assert ledger.settle(settlement(span, empty)).drained_at is None


def test_a_page_that_is_not_the_end_leaves_the_last_drain_as_it_was(ledger: Ledger) -> None:
    span = ledger.begin(after=numbered(0))
    drained = ledger.settle(settlement(span, page(1, is_end=True)))
    assert ledger.settle(settlement(drained, page(2))).drained_at == NOW


OLD = NOW - timedelta(hours=1)


def old_page(
    *numbers: int, position: LogId | None = None, believed_at: datetime | None = NOW
) -> Page:
    """A page of events that came into the log an hour ago."""
    records = [record(number) | {"log_id": numbered(number, OLD)} for number in numbers]
    at = position or numbered(numbers[-1], OLD)
    events = parse_events(records, after=EARLIEST)
    return Page(events=events, position=at, is_end=False, served_at=NOW, believed_at=believed_at)


def span_of(ledger: Ledger, cursor: LogCursor) -> Span:
    return next(span for span in ledger.spans() if span.id == cursor.id)


def test_a_page_read_late_enough_is_confirmed(ledger: Ledger) -> None:
    span = ledger.begin(after=numbered(0, OLD))
    ledger.settle(settlement(span, old_page(1, 2)))
    assert span_of(ledger, span).confirmed == numbered(2, OLD)


def test_a_page_is_confirmed_up_to_the_late_window_before_the_answer(ledger: Ledger) -> None:
    span = ledger.begin(after=numbered(0, OLD))
    ledger.settle(settlement(span, page(1, 2)))
    assert span_of(ledger, span).confirmed == floor_id(NOW - timedelta(minutes=10))


def test_an_unconfirmed_stretch_stays_unconfirmed_until_the_second_reading(ledger: Ledger) -> None:
    span = ledger.begin(after=numbered(0))
    moved = ledger.settle(settlement(span, page(1)))
    later = NOW + timedelta(hours=1)
    read = replace(page(2), served_at=later, believed_at=later)
    ledger.settle(settlement(moved, read))
    assert span_of(ledger, span).confirmed == numbered(0)


def test_an_answer_without_a_believed_time_confirms_nothing(ledger: Ledger) -> None:
    span = ledger.begin(after=numbered(0, OLD))
    ledger.settle(settlement(span, old_page(1, believed_at=None)))
    assert span_of(ledger, span).confirmed == numbered(0, OLD)


def unread_of(ledger: Ledger) -> list[tuple[LogId, LogId]]:
    if isinstance(ledger, FakeLedger):
        return ledger.unread
    assert isinstance(ledger, SqlLedger)
    return [(each.reached, each.until or EARLIEST) for each in ledger.unread_stretches()]


def test_a_span_that_ends_above_its_confirmed_leaves_an_unread_stretch(ledger: Ledger) -> None:
    span = ledger.begin(after=numbered(0, OLD), until=numbered(9))
    moved = ledger.settle(settlement(span, old_page(1, 2)))
    ledger.settle(settlement(moved, page(3, position=9, is_end=True)))
    assert unread_of(ledger) == [(floor_id(NOW - timedelta(minutes=10)), numbered(9))]


def test_a_span_that_ends_confirmed_leaves_nothing_unread(ledger: Ledger) -> None:
    span = ledger.begin(after=numbered(0, OLD), until=numbered(9, OLD))
    ledger.settle(settlement(span, old_page(1, 2, position=numbered(9, OLD))))
    assert unread_of(ledger) == []


def test_a_finished_span_is_joined_to_the_live_one_above_it(ledger: Ledger) -> None:
    live = ledger.begin(after=numbered(9, OLD))
    ledger.settle(settlement(live, page(20)))
    before = span_of(ledger, live)
    below = ledger.begin(after=numbered(0, OLD), until=numbered(9, OLD))
    ledger.settle(settlement(below, old_page(1, 2, position=numbered(9, OLD))))
    assert ledger.spans() == (replace(before, after=numbered(0, OLD)),)


def test_a_span_that_begins_above_a_finished_one_is_joined_to_it(ledger: Ledger) -> None:
    below = ledger.begin(after=numbered(0, OLD), until=numbered(9, OLD))
    ledger.settle(settlement(below, old_page(1, 2, position=numbered(9, OLD))))
    live = ledger.begin(after=numbered(9, OLD))
    assert (live.after, live.reached, live.confirmed) == (
        numbered(0, OLD),
        numbered(9, OLD),
        numbered(9, OLD),
    )
    assert ledger.spans() == (live,)


def test_a_span_that_is_not_finished_is_joined_to_nothing(ledger: Ledger) -> None:
    below = ledger.begin(after=numbered(0, OLD), until=numbered(9, OLD))
    ledger.settle(settlement(below, old_page(1, 2)))
    ledger.begin(after=numbered(9, OLD))
    assert len(ledger.spans()) == 2


def test_spans_that_do_not_touch_are_not_joined(ledger: Ledger) -> None:
    below = ledger.begin(after=numbered(0, OLD), until=numbered(9, OLD))
    ledger.settle(settlement(below, old_page(1, 2, position=numbered(9, OLD))))
    ledger.begin(after=numbered(10, OLD))
    assert len(ledger.spans()) == 2


def test_the_worker_of_a_span_goes_on_when_another_is_joined_to_it(ledger: Ledger) -> None:
    live = ledger.begin(after=numbered(9, OLD))
    below = ledger.begin(after=numbered(0, OLD), until=numbered(9, OLD))
    ledger.settle(settlement(below, old_page(1, 2, position=numbered(9, OLD))))
    ledger.settle(settlement(live, page(20)))
    assert [(span.after, span.reached) for span in ledger.spans()] == [
        (numbered(0, OLD), numbered(20))
    ]


def test_joins_run_through_a_whole_row_of_spans(ledger: Ledger) -> None:
    edges = [numbered(number, OLD) for number in (0, 10, 20, 30)]
    spans = [ledger.begin(after=a, until=b) for a, b in pairwise(edges)]
    for number in (2, 0, 1):
        after = spans[number].after
        read = old_page(number * 10 + 1, position=edges[number + 1])
        assert after in edges
        ledger.settle(settlement(spans[number], read))
    (span,) = ledger.spans()
    assert (span.after, span.reached, span.until) == (edges[0], edges[3], edges[3])


# Catch-up


LiveLedger = FakeLedger | SqlLedger


@pytest.fixture
def behind(ledger: Ledger) -> LiveLedger:
    """A ledger whose live span is settled up to event 5 of an hour ago."""
    assert isinstance(ledger, FakeLedger | SqlLedger)
    live = ledger.begin(after=numbered(0, OLD))
    ledger.settle(settlement(live, old_page(1, 5)))
    return ledger


def live_of(ledger: LiveLedger) -> Span:
    live = ledger.live_span()
    assert live is not None
    return live


def bounds_of(ledger: LiveLedger) -> list[tuple[LogId, LogId, LogId | None, bool]]:
    return [(each.after, each.reached, each.until, each.is_catch_up) for each in ledger.spans()]


def old(*numbers: int) -> list[LogId]:
    return [numbered(number, OLD) for number in numbers]


def test_a_catch_up_makes_slices_of_the_backlog_and_a_new_live_span(behind: LiveLedger) -> None:
    begun = behind.begin_catch_up(live_of(behind), present=numbered(90), ends=old(20, 30))
    zero, five, twenty, thirty = old(0, 5, 20, 30)
    assert bounds_of(behind) == [
        (zero, five, twenty, True),
        (twenty, twenty, thirty, True),
        (thirty, thirty, numbered(90), True),
        (numbered(90), numbered(90), None, False),
    ]
    assert live_of(behind) == begun
    assert behind.backlog() == behind.spans()[:-1]
    assert [each.confirmed for each in behind.spans()] == [each.reached for each in behind.spans()]


def test_a_catch_up_without_ends_makes_one_slice(behind: LiveLedger) -> None:
    behind.begin_catch_up(live_of(behind), present=numbered(90), ends=())
    assert [(each.reached, each.until) for each in behind.backlog()] == [
        (numbered(5, OLD), numbered(90))
    ]


def test_a_catch_up_leaves_unread_what_is_not_confirmed(behind: LiveLedger) -> None:
    behind.settle(settlement(live_of(behind), page(6)))
    behind.begin_catch_up(live_of(behind), present=numbered(90), ends=())
    assert unread_of(behind) == [(floor_id(NOW - timedelta(minutes=10)), numbered(6))]


def test_a_live_span_that_settled_nothing_is_removed_by_a_catch_up(ledger: Ledger) -> None:
    assert isinstance(ledger, FakeLedger | SqlLedger)
    live = ledger.begin(after=numbered(5, OLD))
    ledger.begin_catch_up(live, present=numbered(90), ends=())
    assert bounds_of(ledger) == [
        (numbered(5, OLD), numbered(5, OLD), numbered(90), True),
        (numbered(90), numbered(90), None, False),
    ]
    assert unread_of(ledger) == []


def test_a_slice_knows_when_the_end_of_the_log_was_seen(behind: LiveLedger) -> None:
    """The event at the position may be too old to prove that retention took nothing above it."""
    empty = Page(events=(), position=live_of(behind).reached, is_end=True, served_at=NOW)
    behind.settle(settlement(live_of(behind), replace(empty, drained_to=NOW)))
    behind.begin_catch_up(live_of(behind), present=numbered(90), ends=[numbered(20)])
    behind.cut(behind.backlog()[0], numbered(10))
    assert {each.drained_at for each in behind.backlog()} == {NOW}
    assert live_of(behind).drained_at is None


def test_a_finished_catch_up_is_joined_to_one_live_span(behind: LiveLedger) -> None:
    behind.begin_catch_up(live_of(behind), present=numbered(90, OLD), ends=old(20))
    live = behind.settle(settlement(live_of(behind), old_page(91)))
    upper, lower = reversed(behind.backlog())
    behind.settle(settlement(upper, old_page(25, position=numbered(90, OLD))))
    assert behind.backlog() == (lower,)
    behind.settle(settlement(lower, old_page(6, position=numbered(20, OLD))))
    assert behind.spans() == (replace(live, after=numbered(0, OLD)),)
    assert behind.backlog() == ()


def test_a_second_outage_adds_to_the_slices_that_are_left(behind: LiveLedger) -> None:
    behind.begin_catch_up(live_of(behind), present=numbered(20, OLD), ends=())
    behind.settle(settlement(live_of(behind), old_page(21)))
    behind.begin_catch_up(live_of(behind), present=numbered(90), ends=old(50))
    five, twenty, one, fifty = old(5, 20, 21, 50)
    assert [(each.reached, each.until) for each in behind.backlog()] == [
        (five, twenty),
        (one, fifty),
        (fifty, numbered(90)),
    ]
    assert behind.spans()[1].after == twenty


@pytest.mark.parametrize("present", [0, 5])
def test_a_catch_up_begins_above_the_position(behind: LiveLedger, present: int) -> None:
    before = behind.spans()
    with pytest.raises(ConflictError):
        behind.begin_catch_up(live_of(behind), present=numbered(present, OLD), ends=())
    assert behind.spans() == before


@pytest.mark.parametrize("ends", [(30, 20), (20, 20), (5,), (3,), (90,), (95,)])
def test_the_ends_of_a_catch_up_rise_from_the_position_to_the_present(
    behind: LiveLedger, ends: tuple[int, ...]
) -> None:
    before = behind.spans()
    with pytest.raises(ValueError, match="rise"):
        behind.begin_catch_up(live_of(behind), present=numbered(90, OLD), ends=old(*ends))
    assert behind.spans() == before


def test_a_catch_up_of_a_span_that_has_moved_conflicts(behind: LiveLedger) -> None:
    live = live_of(behind)
    behind.settle(settlement(live, old_page(6)))
    before = behind.spans()
    with pytest.raises(ConflictError):
        behind.begin_catch_up(live, present=numbered(90), ends=())
    assert behind.spans() == before


def test_a_catch_up_of_a_slice_conflicts(behind: LiveLedger) -> None:
    below = behind.begin(after=numbered(1, OLD - timedelta(hours=1)), until=numbered(0, OLD))
    with pytest.raises(ConflictError):
        behind.begin_catch_up(below, present=numbered(90), ends=())


def test_a_page_that_was_read_before_a_catch_up_conflicts(
    behind: LiveLedger, counts: Counts
) -> None:
    live = live_of(behind)
    behind.begin_catch_up(live, present=numbered(90), ends=())
    with pytest.raises(ConflictError):
        behind.settle(settlement(live, old_page(6)))
    assert counts()[FORWARDED] == 2


def test_a_cut_keeps_the_mark_of_a_catch_up_in_both_halves(behind: LiveLedger) -> None:
    behind.begin_catch_up(live_of(behind), present=numbered(90), ends=())
    near, far = behind.cut(behind.backlog()[0], numbered(40, OLD))
    assert behind.backlog() == (near, far)
    assert (near.reached, near.until) == (numbered(5, OLD), numbered(40, OLD))
    assert (far.reached, far.until) == (numbered(40, OLD), numbered(90))


def test_a_backfills_slice_is_no_slice_of_a_catch_up(behind: LiveLedger) -> None:
    begin = numbered(1, OLD - timedelta(hours=1))
    behind.begin(after=begin, until=numbered(0, OLD))
    behind.begin_catch_up(live_of(behind), present=numbered(90), ends=())
    assert [each.reached for each in behind.backlog()] == old(5)
    assert behind.spans()[0].is_catch_up is False


def test_a_page_whose_events_do_not_lie_above_the_position_is_refused(ledger: Ledger) -> None:
    span = ledger.begin(after=numbered(5))
    with pytest.raises(ConflictError):
        ledger.settle(settlement(span, page(4, 7)))
    with pytest.raises(ConflictError):
        ledger.settle(settlement(span, page(6, 8, position=7)))


def test_a_bounded_span_is_done_at_its_bound(ledger: Ledger) -> None:
    span = ledger.begin(after=EARLIEST, until=numbered(9))
    done = ledger.settle(settlement(span, page(1, 2, position=9, is_end=True)))
    assert done.is_done
    assert done.drained_at is None


def test_a_page_is_settled_once(ledger: Ledger, counts: Counts) -> None:
    span = ledger.begin(after=EARLIEST)
    made = settlement(span, page(1, 2, 3))
    ledger.settle(made)
    with pytest.raises(ConflictError):
        ledger.settle(made)
    assert counts()[FORWARDED] == 3


@pytest.mark.parametrize("position", [4, 5, 30])
def test_a_page_must_continue_its_span(ledger: Ledger, counts: Counts, position: int) -> None:
    span = ledger.begin(after=numbered(5), until=numbered(20))
    read = page(1, 2, position=position)
    with pytest.raises(ConflictError):
        ledger.settle(settlement(span, read))
    assert (ledger.spans(), counts()[FORWARDED]) == ((span,), 0)


def test_a_page_may_not_reach_into_another_span(ledger: Ledger, counts: Counts) -> None:
    ledger.begin(after=numbered(20))
    span = ledger.begin(after=numbered(5), until=numbered(20))
    stretched = replace(span, until=numbered(40))
    with pytest.raises(ConflictError):
        ledger.settle(settlement(stretched, page(10, 25)))
    assert counts()[FORWARDED] == 0


def test_a_span_that_is_not_there_conflicts(ledger: Ledger) -> None:
    span = ledger.begin(after=EARLIEST)
    for stranger in (
        replace(span, id=99),
        replace(span, stream=replace(STREAM, source_name="other")),
    ):
        with pytest.raises(ConflictError):
            ledger.settle(settlement(stranger, page(1)))


def test_threads_that_settle_at_once_lose_and_double_nothing(
    ledger: Ledger, counts: Counts
) -> None:
    spans = [ledger.begin(after=numbered(n * 100), until=numbered(n * 100 + 100)) for n in range(4)]
    errors: list[BaseException] = []

    def walk(span: Span, first: int) -> None:
        try:
            for number in range(first + 1, first + 31):
                span = ledger.settle(settlement(span, page(number)))
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            errors.append(error)

    threads = [threading.Thread(target=walk, args=(span, n * 100)) for n, span in enumerate(spans)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert counts()[FORWARDED] == 120


def test_of_two_that_settle_the_same_page_one_conflicts(ledger: Ledger, counts: Counts) -> None:
    span = ledger.begin(after=EARLIEST)
    made = settlement(span, page(1, 2, 3))
    outcomes: list[str] = []

    def settle() -> None:
        try:
            ledger.settle(made)
            outcomes.append("settled")
        except ConflictError:
            outcomes.append("conflict")

    threads = [threading.Thread(target=settle) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 7 + ["settled"]
    assert counts()[FORWARDED] == 3


def test_ids_of_another_length_keep_their_order(ledger: Ledger) -> None:
    span = ledger.begin(after=LogId("9"))
    odd = Page(
        events=parse_events([record(1) | {"log_id": "Cg1HRUY3"}], after=EARLIEST),
        position=LogId("Cg1HRUY3"),
        is_end=False,
        served_at=NOW + timedelta(seconds=1),
    )
    assert ledger.settle(settlement(span, odd)).reached == "Cg1HRUY3"


def test_fingerprints_are_stored_with_the_page_that_sent_them(ledger: Ledger) -> None:
    live = ledger.begin(after=numbered(0))
    read = page(1, 2)
    calls = calls_of_page(LiveTranslator(live.stream, Rules(identify="changes")), read, {})
    ids = tuple(message.message_id for message in calls.messages)
    sent = {
        message.fingerprint.key: message.fingerprint.value
        for message in calls.messages
        if message.fingerprint
    }
    done = build_settlement(live, read, calls, Delivery(receipts=(Receipt(message_ids=ids),)))
    assert sent
    assert ledger.last_fingerprints(list(sent)) == {}
    moved = ledger.settle(done)
    assert ledger.last_fingerprints([*sent, "other"]) == sent == done.fingerprints
    with pytest.raises(ConflictError):
        ledger.settle(replace(done, fingerprints=dict.fromkeys(sent, "later")))
    assert ledger.last_fingerprints(list(sent)) == sent
    ledger.settle(replace(settlement(moved, page(3)), fingerprints=dict.fromkeys(sent, "later")))
    assert set(ledger.last_fingerprints(list(sent)).values()) == {"later"}
    assert ledger.last_fingerprints([]) == {}


def test_a_refused_message_leaves_no_fingerprint(ledger: Ledger) -> None:
    live = ledger.begin(after=numbered(0))
    read = page(1)
    calls = calls_of_page(LiveTranslator(live.stream, Rules(identify="changes")), read, {})
    identify, track = calls.messages
    assert identify.fingerprint is not None
    receipt = Receipt(message_ids=(track.message_id,))
    delivery = Delivery(receipts=(receipt,), refusals=(Refusal(message=identify, status=400),))
    ledger.settle(build_settlement(live, read, calls, delivery))
    assert ledger.last_fingerprints([identify.fingerprint.key]) == {}
