"""A changed write key: what stays with the stream, and what is sent again under other ids."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from poller.adapters.sql_ledger.key_changes import find_undelivered, redeliver, rotate_key
from poller.adapters.sql_ledger.ledger import SqlLedger
from poller.adapters.sql_ledger.reader import LedgerReader, Record
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import EARLIEST, floor_id
from poller.core.messages import message_id, signup_message_ids
from poller.core.outcomes import PendingIdentify
from poller.core.spans import Gap, LogRange, Redelivery, settled_ranges
from tests.builders import live_of, page, settlement, taken
from tests.fakes import NOW, STREAM, numbered

RENAMED = replace(STREAM, source_name="app")
GENERATION = "key-20261126T080000Z"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@contextmanager
def opened(url: str, stream: Stream = STREAM, *, adopt: bool = False) -> Iterator[SqlLedger]:
    ledger = SqlLedger.open(url, stream, create=True, adopt=adopt)
    try:
        yield ledger
    finally:
        ledger.close()


def record(url: str, stream: Stream) -> Record:
    reader = LedgerReader.open(url)
    try:
        return reader.record(stream)
    finally:
        reader.close()


def settled(url: str, *numbers: int) -> None:
    with opened(url) as ledger:
        span = live_of(ledger) or ledger.begin(after=numbered(0))
        ledger.settle(settlement(span, page(*numbers)))


def ranges(*bounds: tuple[int, int]) -> tuple[LogRange, ...]:
    return tuple(LogRange(after=numbered(after), until=numbered(until)) for after, until in bounds)


def id_of(stream: Stream, number: int = 3) -> str:
    return message_id(stream, "track", numbered(number), numbered(number))


def test_a_rotated_key_changes_the_name_of_a_stream_and_no_message_id(url: str) -> None:
    settled(url, 1, 2, 3)
    before = record(url, STREAM)
    rotate_key(url, STREAM, RENAMED)
    with opened(url, RENAMED) as ledger:
        assert id_of(ledger.stream) == id_of(STREAM) != id_of(RENAMED)
        assert ledger.spans() == tuple(replace(span, stream=RENAMED) for span in before.spans)
    with pytest.raises(FatalError, match="only other streams"), opened(url, STREAM):
        pass


def test_ids_stay_those_of_the_first_name_after_any_number_of_rotations(url: str) -> None:
    third = replace(STREAM, source_name="third")
    settled(url, 1)
    rotate_key(url, STREAM, RENAMED)
    rotate_key(url, RENAMED, third)
    with opened(url, third) as ledger:
        assert id_of(ledger.stream) == id_of(STREAM)
    rotate_key(url, third, STREAM)
    with opened(url) as ledger:
        assert ledger.stream.in_ids == ()


def test_a_wrong_key_gives_new_ids_and_keeps_the_position_and_what_lies_below(url: str) -> None:
    settled(url, 1, 2, 3, 4)
    redeliver(url, STREAM, RENAMED, numbered(2), generation=GENERATION)
    with opened(url, RENAMED) as ledger:
        assert len({id_of(ledger.stream), id_of(STREAM), id_of(RENAMED)}) == 3
        assert id_of(ledger.stream, 2) == id_of(STREAM, 2)
        (live,) = ledger.spans()
        assert (live.after, live.reached, live.is_live) == (numbered(0), numbered(4), True)
        (again,) = ledger.revisits()
        assert isinstance(again, Redelivery)
        assert (again.after, again.reached, again.until) == (
            numbered(2),
            numbered(2),
            numbered(4),
        )
    found = record(url, RENAMED)
    assert settled_ranges(found.spans, found.gaps, revisits=found.revisits) == ranges((0, 2))


def test_each_wrong_key_gives_new_ids_from_its_time_on_and_a_rotation_none(url: str) -> None:
    settled(url, 1, 2, 3, 4, 5, 6)
    redeliver(url, STREAM, STREAM, numbered(4), generation="a")
    with opened(url) as ledger:
        first = ledger.stream
    rotate_key(url, STREAM, RENAMED)
    redeliver(url, RENAMED, RENAMED, numbered(2), generation="b")
    with opened(url, RENAMED) as ledger:
        second = ledger.stream
    assert [id_of(first, number) == id_of(STREAM, number) for number in range(1, 7)] == (
        [True] * 4 + [False] * 2
    )
    assert [id_of(second, number) == id_of(STREAM, number) for number in range(1, 7)] == (
        [True] * 2 + [False] * 4
    )
    assert not {id_of(first, 5), id_of(first, 6)} & {id_of(second, 5), id_of(second, 6)}
    redeliver(url, RENAMED, RENAMED, numbered(5), generation="c")
    with opened(url, RENAMED) as ledger:
        third = ledger.stream
    assert [id_of(third, number) == id_of(second, number) for number in range(1, 7)] == (
        [True] * 5 + [False]
    )
    assert len(set(signup_message_ids(third, "auth0|1"))) == 3


def test_a_redelivery_settles_its_part_again_and_counts_no_event_twice(url: str) -> None:
    settled(url, 1, 2, 3)
    redeliver(url, STREAM, STREAM, numbered(1), generation=GENERATION)
    with opened(url) as ledger:
        (again,) = ledger.revisits()
        ledger.settle(settlement(taken(ledger, again), page(2, 3)))
        assert ledger.revisits() == ()
    found = record(url, STREAM)
    assert settled_ranges(found.spans, found.gaps, revisits=found.revisits) == ranges((0, 3))
    reader = LedgerReader.open(url)
    assert reader.totals(STREAM)["forwarded"] == 3
    reader.close()


def test_a_part_that_retention_took_from_a_redelivery_is_a_gap(url: str) -> None:
    settled(url, 1, 2, 3, 4)
    redeliver(url, STREAM, STREAM, numbered(1), generation=GENERATION)
    lost = Gap(after=numbered(1), before=numbered(4))
    with opened(url) as ledger:
        (again,) = ledger.revisits()
        ledger.settle(settlement(taken(ledger, again), replace(page(4), lost=lost)))
        assert ledger.gaps() == (lost,)
    found = find_undelivered(url, STREAM, EARLIEST).ranges
    assert [each.until for each in found] == [numbered(1), numbered(4)]


def test_only_what_was_told_since_then_is_forgotten(url: str) -> None:
    settled(url, 1)
    since = NOW - timedelta(hours=1)
    with opened(url) as ledger:
        ledger.record_identified([], {"old": "a"}, since - timedelta(seconds=1))
        ledger.record_identified([], {"new": "b"}, since)
    told = find_undelivered(url, STREAM, floor_id(since)).told
    redeliver(url, STREAM, STREAM, floor_id(since), generation=GENERATION)
    with opened(url) as ledger:
        assert ledger.last_fingerprints(["old", "new"]) == {"old": "a"}
    assert told - find_undelivered(url, STREAM, floor_id(since)).told >= 1


def test_identifies_that_wait_go_on_waiting(url: str) -> None:
    settled(url, 1)
    pending = PendingIdentify(user_id="auth0|1", sent_as="auth0|1", log_id=numbered(1))
    with opened(url) as ledger:
        (again,) = ledger.begin_resends([(numbered(0), numbered(1))])
        ledger.settle(replace(settlement(again, page(1)), pending_identifies=(pending,)))
        assert ledger.count_pending_identifies() == 1
    redeliver(url, STREAM, STREAM, EARLIEST, generation=GENERATION)
    with opened(url) as ledger:
        assert ledger.count_pending_identifies() == 1


def test_a_second_wrong_key_sends_again_only_what_was_read_meanwhile(url: str) -> None:
    settled(url, 1, 2, 3, 4)
    redeliver(url, STREAM, STREAM, numbered(1), generation=GENERATION)
    with opened(url) as ledger:
        (again,) = ledger.revisits()
        ledger.settle(settlement(taken(ledger, again), page(2)))
    assert find_undelivered(url, STREAM, numbered(1)).ranges == ranges((1, 2))
    redeliver(url, STREAM, STREAM, numbered(1), generation="key-2")
    with opened(url) as ledger:
        assert sorted((each.reached, each.until) for each in ledger.revisits()) == [
            (numbered(1), numbered(2)),
            (numbered(2), numbered(4)),
        ]


def test_the_part_above_the_end_of_a_wrong_key_keeps_its_ids_and_is_not_sent_again(
    url: str,
) -> None:
    settled(url, 1, 2, 3, 4, 5)
    redeliver(url, STREAM, STREAM, numbered(4), generation="key-1")
    assert find_undelivered(url, STREAM, numbered(1), numbered(3)).ranges == ranges((1, 3))
    redeliver(url, STREAM, STREAM, numbered(1), numbered(3), generation="key-2")
    with opened(url) as ledger:
        assert sorted((each.reached, each.until) for each in ledger.revisits()) == [
            (numbered(1), numbered(3)),
            (numbered(4), numbered(5)),
        ]
        assert [each.generation for each in ledger.stream.in_ids] == ["", "key-2", "", "key-1"]
        assert [id_of(ledger.stream, each) == id_of(STREAM, each) for each in range(1, 6)] == [
            True,
            False,
            False,
            True,
            False,
        ]


def test_a_hole_and_a_gap_are_not_sent_again(url: str) -> None:
    with opened(url) as ledger:
        below = ledger.begin(after=numbered(0), until=numbered(6))
        ledger.settle(settlement(below, page(1, 2)))
        live = ledger.begin(after=numbered(10))
        lost = Gap(after=numbered(10), before=numbered(13))
        ledger.settle(settlement(live, replace(page(13, 14), lost=lost)))
    found = find_undelivered(url, STREAM, EARLIEST).ranges
    assert (found[0].after, found[0].until) == (numbered(0), numbered(2))
    assert found[-1].until == numbered(14)
    assert all(
        not each.after < numbered(number) <= each.until
        for each in found
        for number in (3, 6, 10, 11, 12)
    )


def test_a_name_that_another_stream_has_is_refused(url: str) -> None:
    settled(url, 1)
    with opened(url, RENAMED, adopt=True) as ledger:
        ledger.begin(after=numbered(0))
    for change in (
        lambda: rotate_key(url, STREAM, RENAMED),
        lambda: redeliver(url, STREAM, RENAMED, EARLIEST, generation=GENERATION),
    ):
        with pytest.raises(FatalError, match="beside") as caught:
            change()
        assert "ledger remove-stream --source-name app" in caught.value.hint
