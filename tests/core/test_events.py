"""Auth0's words: ids, dates, records."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.core.events import canonical, last_id, parse_events
from poller.core.log_ids import EARLIEST, LogId, floor_id, moment_of, predecessor
from tests.builders import JSON

RECORD = JSON | st.fixed_dictionaries(
    {}, optional={"log_id": JSON, "_id": JSON, "type": JSON, "date": JSON, "user_id": JSON}
)
REAL = LogId("90020240308035905601176000000000000001223372052035100532")


def test_a_bound_lies_below_every_id_of_its_second_and_above_those_before() -> None:
    moment = datetime(2024, 3, 8, 3, 59, 5, tzinfo=UTC)
    assert floor_id(moment) < REAL < floor_id(moment + timedelta(seconds=1))
    assert len(floor_id(moment)) == len(REAL) == len(EARLIEST) == 56
    assert floor_id(datetime(2013, 1, 1, tzinfo=UTC)) > EARLIEST


def test_a_bound_is_in_utc() -> None:
    moment = datetime(2024, 3, 8, 3, 59, 5, tzinfo=UTC)
    assert floor_id(moment.astimezone(timezone(timedelta(hours=9)))) == floor_id(moment)


def test_the_ingest_time_is_read_from_an_id_to_the_millisecond() -> None:
    assert moment_of(REAL) == datetime(2024, 3, 8, 3, 59, 5, 601000, tzinfo=UTC)


@pytest.mark.parametrize(
    "odd",
    ["", "900", "abc", "90020241308035905601", "901" + "0" * 53, "900\u0662\u0660" + "0" * 51],
)
def test_an_id_without_a_time_has_none(odd: str) -> None:
    assert moment_of(odd) is None


@given(st.integers(1, 10**56 - 1).map(lambda number: LogId(f"{number:056d}")))
def test_the_predecessor_is_the_next_id_below(log_id: LogId) -> None:
    below = predecessor(log_id)
    assert below is not None
    assert len(below) == len(log_id)
    assert int(below) == int(log_id) - 1


@pytest.mark.parametrize("odd", ["", "0", "000", "abc", "9+001", "-1"])
def test_only_a_positive_number_has_a_predecessor(odd: str) -> None:
    assert predecessor(LogId(odd)) is None


@given(st.lists(RECORD, max_size=20))
def test_every_record_becomes_one_event_under_an_id_that_is_the_same_at_every_reading(
    records: list[Any],
) -> None:
    events = parse_events(records, after=REAL)
    assert len(events) == len(records)
    assert [event.log_id for event in events] == [
        event.log_id for event in parse_events(records, after=REAL)
    ]
    for event, record in zip(events, records, strict=True):
        assert event.record is record
        assert event.defect in {None, "unreadable_record"}
        assert (event.type == "") == (event.defect is not None)


def test_a_record_without_an_id_sorts_between_its_neighbours() -> None:
    records = [
        {"log_id": "9001", "type": "s"},
        None,
        {"type": "s"},
        {"log_id": "9002", "type": "s"},
    ]
    ids = [event.log_id for event in parse_events(records, after=LogId("9000"))]
    assert ids == sorted(set(ids))
    assert ids == ["9001", "9001+001", "9001+002", "9002"]


@pytest.mark.parametrize(
    ("record", "log_id"),
    [
        ({"log_id": "9001"}, "9001"),
        ({"_id": "9001"}, "9001"),
        ({"log_id": None, "_id": "9001"}, "9001"),
        ({"log_id": 9001}, "9001"),
    ],
)
def test_the_id_stands_in_either_key(record: dict[str, Any], log_id: str) -> None:
    assert last_id([record, {}, None]) == log_id


@given(JSON)
def test_the_text_of_a_record_is_json_and_always_the_same(value: object) -> None:
    assert canonical(value) == canonical(value)
    json.loads(canonical(value), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
