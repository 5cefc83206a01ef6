"""The contract of every Ledger: only the owner that began to work last can settle a page."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta

import pytest

from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.set_position import set_position
from poller.core.errors import ConflictError, TakenOverError
from poller.core.spans import SecondReading, Span
from tests.adapters.sql_ledger.dialects import DIALECTS, url_of
from tests.builders import live_of, page, settlement, taken
from tests.fakes import NOW, STREAM, FakeLedger, numbered

Open = Callable[[], FakeLedger | SqlLedger]
OLD = NOW - timedelta(hours=1)


@pytest.fixture(params=["fake", *DIALECTS])
def opened(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Return a function that opens the ledger once more, for a later owner."""
    if request.param == "fake":
        yield FakeLedger().reopened
        return
    url = url_of(request.param, request)
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(SqlLedger.open(url, STREAM, create=True)))


@pytest.fixture
def earlier(opened: Open) -> FakeLedger | SqlLedger:
    return opened()


@pytest.fixture
def later(earlier: FakeLedger | SqlLedger, opened: Open) -> FakeLedger | SqlLedger:
    del earlier
    return opened()


def begun(ledger: FakeLedger | SqlLedger) -> Span:
    live = ledger.begin(after=numbered(0))
    ledger.settle(settlement(live, page(1, 2)))
    return taken(ledger, live)


def test_an_owner_that_was_taken_over_settles_nothing(
    earlier: FakeLedger | SqlLedger, later: FakeLedger | SqlLedger
) -> None:
    live = begun(earlier)
    own = taken(later, live)
    with pytest.raises(TakenOverError):
        earlier.settle(settlement(live, page(3)))
    assert later.spans() == (own,)
    assert later.settle(settlement(own, page(3))).reached == numbered(3)


def test_an_owner_that_was_taken_over_is_refused_even_if_it_reads_the_ledger_again(
    earlier: FakeLedger | SqlLedger, later: FakeLedger | SqlLedger
) -> None:
    taken(later, begun(earlier))
    again = earlier.live_span()
    assert again is not None
    with pytest.raises(TakenOverError):
        earlier.settle(settlement(again, page(3)))
    with pytest.raises(TakenOverError):
        earlier.begin_work(again)


def test_an_owner_that_was_taken_over_is_told_so_and_not_of_the_position(
    earlier: FakeLedger | SqlLedger, later: FakeLedger | SqlLedger
) -> None:
    live = begun(earlier)
    later.settle(settlement(taken(later, live), page(3)))
    with pytest.raises(TakenOverError):
        earlier.settle(settlement(live, page(3)))


def test_a_page_cannot_be_settled_before_the_work_is_begun(
    earlier: FakeLedger | SqlLedger, later: FakeLedger | SqlLedger
) -> None:
    live = begun(earlier)
    with pytest.raises(ConflictError):
        later.settle(settlement(live, page(3)))
    assert earlier.settle(settlement(live, page(3))).reached == numbered(3)


def test_the_work_may_be_begun_again_by_the_same_owner(earlier: FakeLedger | SqlLedger) -> None:
    live = begun(earlier)
    assert taken(earlier, live) == taken(earlier, live) == live


def test_work_is_begun_where_the_span_stands_now(
    earlier: FakeLedger | SqlLedger, later: FakeLedger | SqlLedger
) -> None:
    live = begun(earlier)
    moved = earlier.settle(settlement(live, page(3)))
    own = taken(later, live)
    assert own == replace(moved, fence=own.fence)
    assert own.fence > moved.fence


def test_a_new_span_belongs_to_the_owner_that_begins_it(later: FakeLedger | SqlLedger) -> None:
    live = later.begin(after=numbered(0))
    assert live == taken(later, live)


def test_an_owner_of_one_span_leaves_the_others_to_their_owners(
    earlier: FakeLedger | SqlLedger, later: FakeLedger | SqlLedger
) -> None:
    live = earlier.begin(after=numbered(50))
    bounded = later.begin(after=numbered(0), until=numbered(20))
    later.settle(settlement(bounded, page(1)))
    assert earlier.settle(settlement(live, page(51))).reached == numbered(51)


def test_a_join_leaves_the_upper_span_to_its_owner(
    earlier: FakeLedger | SqlLedger, later: FakeLedger | SqlLedger
) -> None:
    live = earlier.begin(after=numbered(20))
    bounded = later.begin(after=numbered(0), until=numbered(20))
    later.settle(settlement(bounded, page(1, position=20)))
    moved = earlier.settle(settlement(live, page(21)))
    assert earlier.spans() == (moved,)
    assert (moved.after, moved.fence, moved.id) == (numbered(0), live.fence, live.id)


def test_an_owner_that_was_taken_over_cuts_nothing(
    earlier: FakeLedger | SqlLedger, later: FakeLedger | SqlLedger
) -> None:
    bounded = earlier.begin(after=numbered(0), until=numbered(20))
    own = taken(later, bounded)
    with pytest.raises(TakenOverError):
        earlier.cut(bounded, numbered(10))
    near, far = later.cut(own, numbered(10))
    assert later.spans() == (near, far)
    assert near.fence == far.fence == own.fence


def test_an_owner_cuts_no_span_that_it_has_not_begun_or_that_a_later_one_has(
    earlier: FakeLedger | SqlLedger, later: FakeLedger | SqlLedger
) -> None:
    bounded = earlier.begin(after=numbered(0), until=numbered(20))
    with pytest.raises(ConflictError):
        later.cut(bounded, numbered(10))
    own = taken(later, bounded)
    with pytest.raises(TakenOverError):
        earlier.cut(own, numbered(10))  # as it reads it in the ledger now
    assert later.spans() == (own,)


def test_an_owner_begins_no_catch_up_of_a_span_that_a_later_one_has(
    earlier: FakeLedger | SqlLedger, later: FakeLedger | SqlLedger
) -> None:
    live = begun(earlier)
    with pytest.raises(ConflictError):
        later.begin_catch_up(live, present=numbered(90), ends=())
    own = taken(later, live)
    with pytest.raises(TakenOverError):
        earlier.begin_catch_up(own, present=numbered(90), ends=())
    assert later.spans() == (own,)


def test_an_owner_that_was_taken_over_begins_no_catch_up(
    earlier: FakeLedger | SqlLedger, later: FakeLedger | SqlLedger
) -> None:
    live = begun(earlier)
    own = taken(later, live)
    with pytest.raises(TakenOverError):
        earlier.begin_catch_up(live, present=numbered(90), ends=())
    new = later.begin_catch_up(own, present=numbered(90), ends=[numbered(50)])
    assert {span.fence for span in later.spans()} == {new.fence} == {own.fence}


def test_a_span_that_is_gone_cannot_be_begun(
    earlier: FakeLedger | SqlLedger, later: FakeLedger | SqlLedger
) -> None:
    bounded = earlier.begin(after=numbered(0), until=numbered(20))
    earlier.begin(after=numbered(20))
    earlier.settle(settlement(bounded, page(1, position=20)))
    assert later.begin_work(bounded) is None


# What only the real ledger has


@pytest.fixture(params=DIALECTS)
def url(request: pytest.FixtureRequest) -> str:
    return url_of(request.param, request)


@pytest.fixture
def owners(url: str) -> Iterator[tuple[SqlLedger, SqlLedger]]:
    """Return the ledgers of an earlier and of a later owner."""
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(closing(SqlLedger.open(url, STREAM, create=True))) for _ in range(2)
        )
        yield first, second


def test_a_second_reading_is_refused_after_a_takeover(
    owners: tuple[SqlLedger, SqlLedger],
) -> None:
    earlier, later = owners
    live = begun(earlier)
    second = live.second_reading(live.reached)
    own = taken(later, live)
    with pytest.raises(TakenOverError):
        earlier.settle(settlement(second, page(1)))
    moved = later.settle(settlement(own.second_reading(own.reached), page(1)))
    assert isinstance(moved, SecondReading)
    assert moved.reached == numbered(1)


def test_an_unread_stretch_is_refused_after_a_takeover(
    owners: tuple[SqlLedger, SqlLedger],
) -> None:
    earlier, later = owners
    bounded = earlier.begin(after=numbered(0), until=numbered(9))
    earlier.settle(settlement(bounded, page(2, position=9)))
    (unread,) = earlier.unread_stretches()
    with pytest.raises(ConflictError):
        earlier.settle(settlement(unread, page(3)))
    stretch = taken(earlier, unread)
    own = taken(later, stretch)
    with pytest.raises(TakenOverError):
        earlier.settle(settlement(stretch, page(3)))
    assert later.settle(settlement(own, page(3))).reached == numbered(3)


def test_an_owner_cuts_no_revisit_that_it_has_not_begun_or_that_a_later_one_has(
    owners: tuple[SqlLedger, SqlLedger],
) -> None:
    earlier, later = owners
    begun(earlier)
    (again,) = earlier.begin_resends([(numbered(0), numbered(2))])
    with pytest.raises(ConflictError):
        later.cut(again, numbered(1))
    own = taken(later, again)
    with pytest.raises(TakenOverError):
        earlier.cut(own, numbered(1))
    assert later.revisits() == (own,)


def test_a_revisit_is_refused_after_a_takeover(owners: tuple[SqlLedger, SqlLedger]) -> None:
    earlier, later = owners
    begun(earlier)
    (again,) = earlier.begin_resends([(numbered(0), numbered(2))])
    own = taken(later, again)
    with pytest.raises(TakenOverError):
        earlier.settle(settlement(again, page(1)))
    with pytest.raises(TakenOverError):
        earlier.cut(again, numbered(1))
    near, far = later.cut(own, numbered(1))
    assert near.fence == far.fence == own.fence
    later.settle(settlement(near, page(1)))


def test_a_stalled_daemon_writes_no_note_and_no_alert(
    owners: tuple[SqlLedger, SqlLedger],
) -> None:
    earlier, later = owners
    live = begun(earlier)
    earlier.note_cycle(at=NOW, error=None)
    earlier.write_alerts([], [])
    taken(later, live)
    for write in (
        lambda: earlier.note_cycle(at=NOW, error="late"),
        lambda: earlier.note_blocked(None),
        lambda: earlier.note_catch_up(since=NOW, error=None),
        lambda: earlier.write_alerts([], []),
        earlier.stop_second_readings,
    ):
        with pytest.raises(TakenOverError):
            write()
    later.note_cycle(at=NOW, error=None)


def test_a_later_daemon_notes_its_trouble_before_it_begins_to_work(
    owners: tuple[SqlLedger, SqlLedger],
) -> None:
    earlier, later = owners
    begun(earlier)
    later.note_cycle(at=NOW, error="Auth0 cannot be reached")
    later.note_blocked(None)


def test_a_backfill_that_begins_later_leaves_the_daemon_its_notes(
    owners: tuple[SqlLedger, SqlLedger],
) -> None:
    earlier, later = owners
    earlier.begin(after=numbered(50))
    bounded = later.begin(after=numbered(0), until=numbered(20))
    later.settle(settlement(bounded, page(1)))
    earlier.note_cycle(at=NOW, error=None)


def test_a_position_that_is_moved_by_hand_takes_the_live_span_over(url: str) -> None:
    with closing(SqlLedger.open(url, STREAM, create=True)) as ledger:
        begun(ledger)
        set_position(url, STREAM, numbered(1))
        with pytest.raises(TakenOverError):
            live_of(ledger)
