"""The proofs that retention removed nothing, and the gap without a proof."""

from datetime import timedelta

import pytest

from poller.adapters.auth0 import Auth0Log
from poller.core.events import SHORTEST_RETENTION
from poller.core.log_ids import EARLIEST, LogId, floor_id
from poller.core.spans import Gap
from tests.adapters.auth0.log_pages import NOW, OLD, froms, log_id, page, record, span
from tests.scripted import Scripted


@pytest.mark.parametrize("host", [OLD + timedelta(hours=1)])
def test_a_time_that_is_not_believed_proves_nothing_against_retention(
    log: Auth0Log, scripted: Scripted
) -> None:
    later = OLD + timedelta(minutes=30)
    kept = [record(log_id(number, later)) for number in range(100)]
    scripted.replies = [page(*kept), page(kept[0]), page(kept[-1])]
    found = log.fetch(span(log_id(1, OLD)))
    assert found.believed_at is None
    assert found.lost == Gap(after=log_id(1, OLD), before=log_id(0, later))


def test_the_event_at_the_position_proves_that_nothing_after_it_was_cut(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(record(log_id(1, OLD)), record(log_id(2)))]
    assert log.fetch(span(log_id(1, OLD))).lost is None
    assert len(scripted.asked) == 1


def test_a_page_that_is_full_with_the_record_asked_from_is_not_the_end(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [
        page(record(log_id(1, OLD)), *(record(log_id(number)) for number in range(2, 101)))
    ]
    found = log.fetch(span(log_id(1, OLD)))
    assert (len(found.events), found.is_end, found.drained_to) == (99, False, None)


def test_an_oldest_event_at_or_below_the_position_is_proof_too(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(record(log_id(2)), record(log_id(3))), page(record(log_id(0, OLD)))]
    assert log.fetch(span(log_id(1, OLD))).lost is None
    assert froms(scripted)[1] == EARLIEST


@pytest.mark.parametrize("reached", [log_id(1, OLD), floor_id(OLD)], ids=["an event", "a bound"])
def test_without_proof_the_stretch_up_to_the_page_is_lost(
    log: Auth0Log, scripted: Scripted, reached: LogId
) -> None:
    scripted.replies = [page(record(log_id(5)), record(log_id(6))), page(record(log_id(5)))]
    found = log.fetch(span(reached))
    assert found.lost == Gap(after=reached, before=floor_id(NOW - SHORTEST_RETENTION))
    assert [event.log_id for event in found.events] == [log_id(5), log_id(6)]


def test_a_gap_ends_at_the_first_event_of_the_page(log: Auth0Log, scripted: Scripted) -> None:
    first = log_id(5, NOW - timedelta(days=2))
    scripted.replies = [page(record(first), record(log_id(6))), page(record(first))]
    assert log.fetch(span(log_id(1, OLD))).lost == Gap(after=log_id(1, OLD), before=first)


def test_an_empty_log_without_a_believed_time_says_nothing(
    log: Auth0Log, scripted: Scripted
) -> None:
    yesterday = NOW - timedelta(days=1)
    scripted.replies = [page(at=yesterday), page(at=yesterday)]
    found = log.fetch(span(log_id(1, OLD)))
    assert (found.lost, found.drained_to, found.is_end) == (None, None, True)


def test_an_emptied_log_is_lost_up_to_what_retention_can_have_taken(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(), page()]
    gap = Gap(after=log_id(1, OLD), before=floor_id(NOW - SHORTEST_RETENTION))
    assert log.fetch(span(log_id(1, OLD))).lost == gap


def test_a_quiet_tenant_that_was_drained_lately_lost_nothing(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(record(log_id(5)))]
    assert log.fetch(span(log_id(1, OLD), drained_at=NOW - timedelta(minutes=1))).lost is None
    assert len(scripted.asked) == 1


def test_nothing_is_lost_where_the_page_begins_right_above_the_position(
    log: Auth0Log, scripted: Scripted
) -> None:
    scripted.replies = [page(record(log_id(5, OLD)), record(log_id(6, OLD)))]
    assert log.fetch(span(log_id(4, OLD))).lost is None
    assert len(scripted.asked) == 1


def test_a_drain_dated_by_a_clock_that_was_wrong_proves_nothing(
    log: Auth0Log, scripted: Scripted
) -> None:
    oldest = log_id(9, NOW - timedelta(days=1))
    scripted.replies = [page(record(log_id(10)), record(log_id(11))), page(record(oldest))]
    found = log.fetch(span(log_id(1, OLD), drained_at=NOW + timedelta(days=3650)))
    assert found.lost is not None
    assert found.lost.after == log_id(1, OLD)
