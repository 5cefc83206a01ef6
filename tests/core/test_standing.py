"""The place of one event in the ledger."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from poller.core.log_ids import LogId
from poller.core.spans import Gap, Redelivery, ReopenedGap, Span, UnreadStretch
from poller.core.standing import Standing, standing_of
from tests.fakes import NOW, STREAM, numbered


def at(minutes: int) -> LogId:
    return numbered(0, NOW + timedelta(minutes=minutes))


LIVE = Span(id=1, stream=STREAM, after=at(10), reached=at(20), confirmed=at(15))
SLICE = Span(
    id=2, stream=STREAM, after=at(0), reached=at(3), until=at(6), confirmed=at(3), is_catch_up=True
)
BACKFILL = replace(SLICE, id=3, is_catch_up=False)
STRETCH = UnreadStretch(id=1, stream=STREAM, after=at(0), reached=at(1), until=at(2))
ALL: dict[str, Any] = {"spans": (LIVE, SLICE)}


@pytest.mark.parametrize(
    ("minute", "place"),
    [
        (-1, "no_span"),
        (0, "no_span"),
        (1, "settled"),
        (3, "settled"),
        (4, "backlog"),
        (6, "backlog"),
        (7, "no_span"),
        (10, "no_span"),
        (11, "settled"),
        (20, "settled"),
        (21, "ahead"),
    ],
)
def test_a_place_follows_from_the_spans_and_their_positions(minute: int, place: str) -> None:
    assert standing_of(at(minute), **ALL).place == place


def test_a_slice_of_a_backfill_is_no_backlog() -> None:
    assert standing_of(at(4), spans=[BACKFILL]).place == "unfinished_backfill"


def test_a_settled_event_names_the_bounds_of_its_span() -> None:
    assert standing_of(at(11), **ALL) == Standing(place="settled", after=at(10), until=None)
    assert standing_of(at(1), **ALL) == Standing(place="settled", after=at(0), until=at(6))


def test_an_event_in_a_gap_is_not_settled_and_its_neighbours_are() -> None:
    gap = Gap(after=at(11), before=at(13))
    places = [standing_of(at(minute), **ALL, gaps=[gap]).place for minute in (11, 12, 13)]
    assert places == ["settled", "gap", "settled"]
    once = replace(gap, is_read_once=True)
    assert standing_of(at(12), **ALL, gaps=[once]).place == "settled"


@pytest.mark.parametrize(
    ("is_recent", "minute", "place"),
    [
        (False, 16, "second_reading"),
        (True, 16, "settled"),
        (None, 16, "settled"),
        (False, 15, "settled"),
        (False, 21, "ahead"),
    ],
)
def test_an_event_that_came_late_waits_for_the_second_reading_if_it_is_no_recent_id(
    is_recent: bool | None, minute: int, place: str
) -> None:
    assert standing_of(at(minute), **ALL, is_recent=is_recent).place == place


@pytest.mark.parametrize(
    ("is_recent", "minute", "place"),
    [(False, 2, "second_reading"), (True, 2, "settled"), (False, 1, "settled")],
)
def test_an_unread_stretch_holds_only_what_no_recent_id_names(
    is_recent: bool, minute: int, place: str
) -> None:
    found = standing_of(at(minute), **ALL, unread=[STRETCH], is_recent=is_recent)
    assert found.place == place


def test_a_stretch_that_is_read_again_is_settled_up_to_its_position_only() -> None:
    bounds: dict[str, Any] = {"id": 1, "stream": STREAM, "after": at(10), "until": at(14)}
    gap, again = (kind(**bounds, reached=at(12)) for kind in (ReopenedGap, Redelivery))
    assert standing_of(at(12), **ALL, revisits=[gap]).place == "settled"
    assert standing_of(at(13), **ALL, revisits=[gap]).place == "reopened_gap"
    assert standing_of(at(14), **ALL, revisits=[again]).place == "redelivery"
    assert standing_of(at(15), **ALL, revisits=[again]).place == "settled"
