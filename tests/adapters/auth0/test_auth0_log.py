"""Positions, proofs against retention and odd pages of the log by checkpoint."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from poller.adapters.auth0 import Auth0Log
from poller.core.log_ids import EARLIEST, LogId, floor_id, predecessor
from tests.adapters.auth0.log_pages import NOW, OLD, froms, log_id, page, record, span
from tests.scripted import Scripted


def test_a_link_that_names_the_last_id_is_nothing_to_tell(
    log: Auth0Log, scripted: Scripted, others: list[LogId]
) -> None:
    scripted.replies = [page(record(log_id(2)), next_from=log_id(2)), page(next_from=log_id(2))]
    log.fetch(span(log_id(1)))
    log.fetch(span(log_id(2)))
    assert (others, log.has_other_link) == ([], False)


@pytest.mark.parametrize("link", ["Cg1HRUY3", log_id(9)])
def test_a_link_that_names_another_position_is_told_once_and_not_followed(
    log: Auth0Log, scripted: Scripted, others: list[LogId], link: str
) -> None:
    scripted.replies = [page(record(log_id(2)), next_from=link)]
    assert log.fetch(span(log_id(1))).position == log_id(2)
    log.fetch(span(log_id(1)))
    assert (others, log.has_other_link) == ([log_id(2)], True)


@pytest.mark.parametrize("link", ["<http://[>; rel=next", "odd", '<https://a/?page=2>; rel="next"'])
def test_a_link_without_a_position_is_nothing_to_tell(
    log: Auth0Log, scripted: Scripted, others: list[LogId], link: str
) -> None:
    odd = page(record(log_id(2)))
    scripted.replies = [replace(odd, headers=odd.headers | {"Link": link})]
    log.fetch(span(log_id(1)))
    assert others == []


def test_a_young_position_is_asked_from_itself(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(record(log_id(2)), record(log_id(3)))]
    found = log.fetch(span(log_id(1)))
    assert froms(scripted) == [log_id(1)]
    assert (found.position, found.is_end, found.served_at, found.lost) == (
        log_id(3),
        True,
        NOW,
        None,
    )


def test_an_old_position_is_asked_from_one_below(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(*(record(log_id(number, OLD)) for number in range(1, 4)))]
    found = log.fetch(span(log_id(1, OLD)))
    assert froms(scripted) == [predecessor(log_id(1, OLD))]
    assert [event.log_id for event in found.events] == [log_id(2, OLD), log_id(3, OLD)]
    assert (found.position, found.is_end, found.lost) == (log_id(3, OLD), False, None)


def test_an_answer_that_holds_only_the_record_asked_from_shows_nothing_of_what_is_above(
    log: Auth0Log, scripted: Scripted
) -> None:
    here = record(log_id(1, OLD))
    scripted.replies = [page(here), page(record(log_id(2))), page(here)]
    found = log.fetch(span(log_id(1, OLD)))
    assert froms(scripted) == [predecessor(log_id(1, OLD)), log_id(1, OLD), EARLIEST]
    assert ([event.log_id for event in found.events], found.lost) == ([log_id(2)], None)


def test_an_idle_poll_is_one_request(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page()]
    found = log.fetch(span(log_id(1, OLD), drained_at=NOW - timedelta(minutes=1)))
    assert froms(scripted) == [log_id(1, OLD)]
    assert (found.is_end, found.drained_to) == (True, NOW)


@pytest.mark.parametrize(("age_s", "is_end"), [(0, True), (10, True), (11, False), (3600, False)])
def test_a_short_page_ends_a_poll_only_if_its_newest_event_is_young(
    log: Auth0Log, scripted: Scripted, age_s: int, is_end: bool
) -> None:
    newest = log_id(2, NOW - timedelta(seconds=age_s))
    scripted.replies = [page(record(newest))]
    found = log.fetch(span(log_id(1, NOW - timedelta(hours=2))))
    assert (found.is_end, found.position) == (is_end, newest)
    assert found.drained_to == (NOW - timedelta(seconds=age_s) if is_end else None)


def test_a_short_page_without_a_believed_time_is_no_end(log: Auth0Log, scripted: Scripted) -> None:
    yesterday = NOW - timedelta(days=1)
    scripted.replies = [page(record(log_id(2)), at=yesterday), page(record(log_id(1)))]
    found = log.fetch(span(log_id(1)))
    assert (found.is_end, found.drained_to) == (False, None)


def test_an_id_without_a_time_needs_the_empty_page(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [
        page(record(LogId("Cg2"))),
        page(record(LogId("Cg1"))),
        page(),
        page(record(LogId("Cg1"))),
    ]
    found = log.fetch(span(LogId("Cg1")))
    assert (found.is_end, found.position) == (False, LogId("Cg2"))
    assert log.fetch(span(LogId("Cg2"))).is_end


def test_a_date_that_the_host_agrees_with_is_believed(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page()]
    found = log.fetch(span(floor_id(NOW)))
    assert (found.served_at, found.believed_at) == (NOW, NOW)


@pytest.mark.parametrize("host", [NOW + timedelta(days=40)])
class TestAHostClockThatIsWrong:
    """The newest log ids can confirm the `Date`. A page from the middle of the log cannot."""

    def test_an_event_at_the_end_of_the_log_bears_the_date_out(
        self, log: Auth0Log, scripted: Scripted
    ) -> None:
        scripted.replies = [page(record(log_id(3, NOW - timedelta(minutes=2))))]
        found = log.fetch(span(floor_id(NOW - timedelta(hours=1))))
        assert (found.served_at, found.believed_at) == (NOW, NOW)

    def test_a_full_page_proves_nothing(
        self, log: Auth0Log, scripted: Scripted, host: datetime
    ) -> None:
        scripted.replies = [page(*(record(log_id(number)) for number in range(1, 101)))]
        found = log.fetch(span(floor_id(NOW)))
        assert (found.served_at, found.believed_at) == (host, None)

    @pytest.mark.parametrize(
        "records", [[], [record(log_id(1, NOW - timedelta(hours=1)))]], ids=["empty", "old"]
    )
    def test_a_quiet_log_proves_nothing(
        self, log: Auth0Log, scripted: Scripted, host: datetime, records: list[Any]
    ) -> None:
        scripted.replies = [page(*records)]
        found = log.fetch(span(floor_id(NOW - timedelta(hours=2))))
        assert (found.served_at, found.believed_at) == (host, None)

    def test_the_event_that_was_asked_from_proves_nothing(
        self, log: Auth0Log, scripted: Scripted
    ) -> None:
        here = record(log_id(1, OLD))
        scripted.replies = [page(here), page(), page(here)]
        assert log.fetch(span(log_id(1, OLD))).believed_at is None

    def test_a_first_start_goes_by_the_lower_of_two_clocks_that_disagree(
        self, log: Auth0Log, scripted: Scripted, host: datetime
    ) -> None:
        oldest, newest = record(log_id(1, OLD)), record(log_id(1, NOW - timedelta(hours=1)))
        scripted.replies = [
            page(oldest),
            page(newest),
            page(oldest, at=NOW + timedelta(days=400)),
            page(newest),
        ]
        assert [log.oldest_kept() for _ in range(2)] == [
            (log_id(1, OLD), NOW),
            (log_id(1, OLD), host),
        ]


@pytest.mark.parametrize("host", [OLD - timedelta(days=40)])
def test_the_time_of_a_page_never_lies_below_its_events(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(*(record(log_id(number, OLD)) for number in range(1, 101)))]
    found = log.fetch(span(floor_id(OLD)))
    assert (found.served_at, found.believed_at) == (OLD, None)


@pytest.mark.parametrize(
    "date", [datetime(1970, 1, 1, tzinfo=UTC), NOW - timedelta(days=1)], ids=["1970", "cached"]
)
def test_a_wrong_date_neither_dates_a_page_nor_begins_a_span(
    log: Auth0Log, scripted: Scripted, date: datetime
) -> None:
    scripted.replies = [page(record(log_id(3)), at=date), page(record(log_id(3)), at=date)]
    found = log.fetch(span(floor_id(NOW - timedelta(hours=1))))
    assert (found.served_at, found.believed_at) == (NOW, None)
    scripted.replies.append(page(record(log_id(3))))
    assert log.oldest_kept() == (log_id(3), NOW)


@pytest.mark.parametrize(
    "host", [NOW - timedelta(days=2), NOW + timedelta(days=2)], ids=["behind", "ahead"]
)
def test_the_newest_event_bears_the_date_out_where_the_host_does_not(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [
        page(record(log_id(1, OLD))),
        page(record(log_id(9, NOW - timedelta(minutes=1)))),
    ]
    assert log.oldest_kept() == (log_id(1, OLD), NOW)


def test_a_full_page_of_the_live_span_is_not_the_end(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page(*(record(log_id(number)) for number in range(1, 101)))]
    found = log.fetch(span(floor_id(NOW)))
    assert not found.is_end
    assert froms(scripted) == [floor_id(NOW)]
    assert len(found.events) == 100


def test_an_empty_page_is_the_end_and_does_not_move(log: Auth0Log, scripted: Scripted) -> None:
    scripted.replies = [page()]
    found = log.fetch(span(floor_id(NOW - timedelta(hours=1))))
    assert (found.events, found.position, found.is_end) == (
        (),
        floor_id(NOW - timedelta(hours=1)),
        True,
    )
    assert found.lost is None


class TestBounded:
    """A cursor ends at an event at or beyond `until`, or at a younger answer without events."""

    def test_events_beyond_the_bound_end_it_there(self, log: Auth0Log, scripted: Scripted) -> None:
        scripted.replies = [page(record(log_id(2)), record(log_id(7)))]
        found = log.fetch(span(log_id(1), until=log_id(5)))
        assert [event.log_id for event in found.events] == [log_id(2)]
        assert (found.position, found.is_end) == (log_id(5), True)

    def test_the_event_at_the_bound_ends_it(self, log: Auth0Log, scripted: Scripted) -> None:
        scripted.replies = [page(record(log_id(2)), record(log_id(5)))]
        found = log.fetch(span(log_id(1), until=log_id(5)))
        assert (len(found.events), found.position, found.is_end) == (2, log_id(5), True)

    def test_a_short_page_below_the_bound_is_not_the_end(
        self, log: Auth0Log, scripted: Scripted
    ) -> None:
        scripted.replies = [page(record(log_id(2)))]
        found = log.fetch(span(log_id(1), until=log_id(5)))
        assert (found.position, found.is_end) == (log_id(2), False)

    @pytest.mark.parametrize(
        ("until", "reaches"),
        [
            (log_id(5, NOW - timedelta(seconds=1)), True),
            (floor_id(NOW), True),
            (log_id(5), False),
            (floor_id(NOW + timedelta(seconds=1)), False),
            (LogId("Cg9"), False),
        ],
    )
    def test_an_empty_page_reaches_a_bound_that_is_past(
        self, log: Auth0Log, scripted: Scripted, until: LogId, reaches: bool
    ) -> None:
        scripted.replies = [page()]
        reached = log_id(1, NOW - timedelta(hours=1))
        found = log.fetch(span(reached, until=until))
        assert (found.position, found.is_end) == (until if reaches else reached, True)

    def test_an_empty_page_without_a_believed_time_reaches_no_bound(
        self, log: Auth0Log, scripted: Scripted
    ) -> None:
        yesterday = NOW - timedelta(days=1)
        scripted.replies = [page(at=yesterday), page(record(log_id(0, OLD)), at=yesterday)]
        found = log.fetch(span(log_id(1, OLD), until=log_id(2, OLD), drained_at=NOW))
        assert (found.position, found.is_end) == (log_id(1, OLD), True)
