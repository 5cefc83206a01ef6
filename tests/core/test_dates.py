"""Dates: read in every form that was seen, and believed only where they can be true."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from poller.core.count_names import FORWARDED
from poller.core.counts import tally
from poller.core.events import LogEvent, Stream, judge_dates, parse_events
from poller.core.log_ids import EARLIEST, LogId
from poller.core.outcomes import DeadLetter, Forwardable, Profile
from poller.core.text.dates import believed_date, parse_date
from poller.core.translation.translator import LiveTranslator
from tests import paths
from tests.builders import JSON, outcome_of
from tests.samples import wire

DATA = paths.DATA / "files"
STREAM = Stream(domain="acme.us.auth0.com", source_name="web")
MOMENT = datetime(2024, 3, 11, 10, 20, 30, tzinfo=UTC)
ID = "90020240311102030040000000000000000000000000000000000000"
OF_ID = datetime(2024, 3, 11, 10, 20, 30, 40000, tzinfo=UTC)
DAY = timedelta(days=1)


def event_of(date: Any, log_id: str = ID, **more: Any) -> LogEvent:
    (event,) = parse_events([{"log_id": log_id, "type": "s", "date": date, **more}], after=EARLIEST)
    return event


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2023-07-26T12:41:11.855Z", datetime(2023, 7, 26, 12, 41, 11, 855000, UTC)),
        ("2023-07-26T14:41:11.855+02:00", datetime(2023, 7, 26, 12, 41, 11, 855000, UTC)),
        ("2023-07-26T12:41:11", datetime(2023, 7, 26, 12, 41, 11, 0, UTC)),
        ("2023-07-26", datetime(2023, 7, 26, tzinfo=UTC)),
        ("20230726", datetime(2023, 7, 26, tzinfo=UTC)),
        (1690375271855, datetime(2023, 7, 26, 12, 41, 11, 855000, UTC)),
        ({"$date": "2023-07-26T12:41:11.855Z"}, datetime(2023, 7, 26, 12, 41, 11, 855000, UTC)),
        (1710152430, MOMENT),
        (1710152430.04, OF_ID),
        (1710152430040, OF_ID),
        (1710152430040000, OF_ID),
        ("1710152430", MOMENT),
        ("1712010112010", datetime(2024, 4, 1, 22, 21, 52, 10000, UTC)),  # and not the year 1712
        ({"$date": 1710152430040}, OF_ID),
        ({"$date": {"$numberLong": "1710152430040"}}, OF_ID),
        ({"$numberLong": "1710152430040"}, OF_ID),
    ],
)
def test_a_date_is_read_as_utc_in_every_form(value: object, moment: datetime) -> None:
    assert parse_date(value) == moment


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            "",
            "soon",
            True,
            [],
            {},
            float("nan"),
            float("inf"),
            1e30,
            10**400,
            "9" * 5000,
            -(10**400),
        ),
        *(
            "0001-01-01T00:00:00+14:00",
            {"$date": {"$date": {"$date": {}}}},
            {"$numberLong": "many"},
        ),
    ],
)
def test_a_value_that_is_not_a_date_is_none(value: object) -> None:
    assert parse_date(value) is None


@given(JSON)
def test_no_value_stops_the_reading_of_a_date(value: object) -> None:
    found = parse_date(value)
    assert found is None or found.utcoffset() == timedelta()


@pytest.mark.parametrize(
    ("date", "of_id", "now", "found"),
    [
        (MOMENT, None, None, MOMENT),
        (MOMENT, MOMENT + 2 * DAY, None, MOMENT),
        (MOMENT, MOMENT + 2.1 * DAY, None, MOMENT + 2.1 * DAY),
        (MOMENT, MOMENT - 2.1 * DAY, None, MOMENT - 2.1 * DAY),
        (datetime(2012, 12, 31, tzinfo=UTC), MOMENT, None, MOMENT),
        (datetime(2012, 12, 31, tzinfo=UTC), None, None, None),
        (datetime(2013, 1, 1, tzinfo=UTC), None, None, datetime(2013, 1, 1, tzinfo=UTC)),
        (MOMENT, None, MOMENT - 2 * DAY, MOMENT),
        (MOMENT, None, MOMENT - 2.1 * DAY, None),
        (MOMENT, MOMENT - DAY, MOMENT - 2.5 * DAY, MOMENT - DAY),
        (MOMENT, MOMENT, MOMENT - 2.1 * DAY, None),  # neither is believed
        (
            MOMENT,
            datetime(1970, 1, 1, tzinfo=UTC),
            None,
            MOMENT,
        ),  # the id's own time is not believed
        (None, MOMENT, None, MOMENT),
        (None, None, None, None),
    ],
)
def test_a_date_is_believed_near_the_time_in_the_id_and_below_the_clocks(
    date: datetime | None, of_id: datetime | None, now: datetime | None, found: datetime | None
) -> None:
    assert believed_date(date, id_time=of_id, now=now) == found


@pytest.mark.parametrize(
    "date", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59Z", 0, -1]
)
def test_the_time_in_the_log_id_stands_in_for_a_date_that_cannot_be_true(date: object) -> None:
    event = event_of(date)
    assert (event.date, event.is_redated) == (OF_ID, True)
    (without,) = judge_dates(
        [event_of(date, log_id="5a0f3e5e2d7c4b0012345678", user_id="auth0|1")], MOMENT
    )
    assert (without.date, without.is_redated) == (None, False)
    outcome = outcome_of(LiveTranslator(STREAM), without, {})
    assert isinstance(outcome, DeadLetter)
    assert outcome.reason == "implausible_date"


def test_only_clocks_that_agree_make_a_date_of_the_future_unbelievable() -> None:
    event = event_of("2024-03-11T10:20:30Z", log_id="5a0f3e5e2d7c4b0012345678")
    assert judge_dates([event], None) == (event,)
    assert judge_dates([event], MOMENT) == (event,)
    (judged,) = judge_dates([event], MOMENT - 3 * DAY)
    assert (judged.date, judged.has_implausible_date) == (None, True)


def test_dates_of_the_published_example_are_as_its_table_says() -> None:
    records = [
        json.loads(line) for line in (DATA / "dates-out-of-reason.ndjson").read_text().splitlines()
    ]
    events = parse_events(records, after=EARLIEST)
    assert [event.is_redated for event in events] == [False, False, True, True, True, False, False]
    assert {event.date for event in events} == {MOMENT, OF_ID}


@pytest.mark.parametrize("name", ["created_at", "last_login"])
@pytest.mark.parametrize("date", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", 0, "soon"])
def test_a_date_of_a_profile_that_cannot_be_true_is_left_out(name: str, date: object) -> None:
    event = event_of(OF_ID.isoformat(), type="ss", user_id="auth0|1")
    known = {"created_at": "2024-03-11T10:20:30Z", "last_login": "2024-03-11T10:20:30Z"} | {
        name: date
    }
    profile = Profile(user_id="auth0|1", read_at=MOMENT + DAY, fields=known)
    outcome = outcome_of(LiveTranslator(STREAM), event, {"auth0|1": profile}, now=MOMENT + DAY)
    assert isinstance(outcome, Forwardable)
    traits = wire(outcome.messages[0])["traits"]
    gone = {"created_at": "signed_up", "last_login": "last_login"}[name]
    assert gone not in traits
    assert len({"signed_up", "last_login"} & set(traits)) == 1


@pytest.mark.parametrize("log_id", ["file-0:1+001", "90000010101000000000" + "0" * 36])
def test_an_event_without_a_time_is_counted_in_the_hour_of_its_settlement(log_id: str) -> None:
    event = LogEvent(
        log_id=LogId(log_id), type="", date=None, record=None, defect="unreadable_record"
    )
    assert tally(event, FORWARDED, MOMENT).hour == MOMENT.replace(minute=0, second=0)
