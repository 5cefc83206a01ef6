"""The translation of events: the documented calls for good ones, an outcome for all others."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.core.errors import TransientError
from poller.core.events import parse_events
from poller.core.log_ids import EARLIEST, LogId
from poller.core.messages import MAX_MESSAGE_BYTES
from poller.core.outcomes import DeadLetter, Filtered, Forwardable, Profile
from poller.core.pages import Page
from poller.core.translation.fields import user_id_of
from poller.core.translation.size_limit import fit, size
from poller.core.translation.translator import LiveTranslator
from tests.builders import JSON, calls_of_page, outcome_of
from tests.core.event_calls import FIELD, PROFILE, TRANSLATOR, calls, translated
from tests.fakes import STREAM
from tests.paths import DATA
from tests.samples import CALLS, DATE, login, sample, wire


@pytest.mark.parametrize("name", sorted(CALLS))
def test_every_recorded_event_comes_out_as_the_table_says(name: str) -> None:
    for event, expected in zip(
        parse_events(sample(name), after=EARLIEST), CALLS[name], strict=True
    ):
        found = outcome_of(TRANSLATOR, event, {})
        if expected == "filtered":
            assert isinstance(found, Filtered)
        else:
            assert isinstance(found, Forwardable)
            assert [wire(message) for message in found.messages] == expected


def test_the_table_covers_every_sample_that_holds_log_events() -> None:
    files = (DATA / "auth0-samples").glob("*.json")
    holding = {
        file.name for file in files if json.loads(file.read_text())["_kind"].startswith("log")
    }
    assert holding == set(CALLS)


def test_a_login_has_the_documented_shape() -> None:
    identify, track = (wire(message) for message in calls(PROFILE))
    assert identify.pop("messageId").startswith("identify-")
    assert track.pop("messageId").startswith("track-")
    common = {
        "userId": "auth0|1",
        "timestamp": "2023-07-26T12:41:11.855Z",
        "context": {"ip": "203.0.113.9", "userAgent": "Chrome"},
    }
    traits = {
        "email": "profile@example.com",
        "signed_up": "2020-01-02T03:04:05.678Z",
        "login_count": 7,
        "last_login": "2023-07-26T12:41:11.855Z",
    }
    properties = {"clientName": "Web shop", "clientID": "c1", "connection": "db"}
    assert identify == {"type": "identify", "traits": traits, **common}
    assert track == {"type": "track", "event": "Logged In", "properties": properties, **common}


def test_login_ids_are_the_events_and_the_streams() -> None:
    first, again, other = calls(), calls(client_name="x"), calls(log_id="9002")
    assert [message.message_id for message in first] == [message.message_id for message in again]
    elsewhere = outcome_of(
        LiveTranslator(replace(STREAM, source_name="app")),
        parse_events([login()], after=EARLIEST)[0],
        {},
    )
    assert isinstance(elsewhere, Forwardable)
    ids = [message.message_id for message in (*first, *other, *elsewhere.messages)]
    assert len(set(ids)) == 6


@pytest.mark.parametrize("absent", [..., None, ""])
def test_absent_fields_are_left_out(absent: Any) -> None:
    gone = ("user_name", "client_name", "client_id", "connection", "ip", "user_agent", "details")
    identify, track = calls(**dict.fromkeys(gone, absent))
    assert (dict(identify.context), dict(track.properties)) == ({}, {"sso": True})
    assert dict(identify.traits) == {"last_login": "2023-07-26T12:41:11.855Z"}


# The login count, which never goes back


@pytest.mark.parametrize(
    ("details", "profile", "count"),
    [
        ({"stats": {"loginsCount": 7}, "prompts": [{"stats": {"loginsCount": 6}}]}, PROFILE, 7),
        ({"prompts": [{"name": "mfa"}, {"stats": {"loginsCount": 6}}]}, PROFILE, 6),
        ({"prompts": [None, 5, {"stats": None}], "stats": {"loginsCount": None}}, PROFILE, 42),
        ({}, PROFILE, 42),
        ({}, replace(PROFILE, read_at=DATE - timedelta(seconds=1)), None),
        ({}, None, None),
        ("odd", None, None),
        ({"stats": {"loginsCount": -1}}, None, None),
        ({"stats": {"loginsCount": True}}, None, None),
        ({"stats": {"loginsCount": float("nan")}}, None, None),
        ({"stats": {"loginsCount": float("inf")}}, None, None),
        ({"stats": {"loginsCount": 10**400}}, None, None),
    ],
)
def test_the_login_count_comes_from_the_event_or_from_a_later_profile(
    details: Any, profile: Profile | None, count: int | None
) -> None:
    identify, _ = calls(profile, details=details)
    assert identify.traits.get("login_count") == count


# Signups that Auth0 does not log, and those that nobody made


# What can never become a call


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"user_id": ...}, "no_user_id"),
        ({"user_id": ""}, "no_user_id"),
        ({"user_id": None, "details": "x"}, "no_user_id"),
        ({"user_id": {}}, "no_user_id"),
        ({"date": ...}, "unparseable_date"),
        ({"date": "soon"}, "unparseable_date"),
        ({"date": float("nan")}, "unparseable_date"),
        ({"user_id": "x" * 40_000}, "too_large"),
        ({"type": 5}, "unreadable_record"),
    ],
)
def test_a_record_that_can_never_become_a_call_is_a_dead_letter(
    changes: dict[str, Any], reason: str
) -> None:
    found = translated(**changes)
    assert isinstance(found, DeadLetter)
    assert found.reason == reason


class Broken(dict[str, Any]):
    """Fields that cannot be looked at."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def get(self, *_: object) -> Any:
        raise self._error


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), KeyError(), TypeError(), AttributeError(), UnicodeError()]
)
def test_a_bug_of_ours_on_an_odd_record_makes_a_dead_letter_and_stops_nothing(
    error: Exception,
) -> None:
    found = translated(replace(PROFILE, fields=Broken(error)))
    assert isinstance(found, DeadLetter)
    assert found.reason == "untranslatable"


@pytest.mark.parametrize(
    "error",
    [
        RecursionError(),
        SystemError(),
        OSError(24, "Too many open files"),
        RuntimeError(),
        NameError(),
    ],
)
def test_an_error_of_the_machine_makes_no_dead_letter(error: Exception) -> None:
    with pytest.raises(type(error)):
        translated(replace(PROFILE, fields=Broken(error)))


def test_no_memory_for_a_record_is_trouble_that_passes() -> None:
    with pytest.raises(TransientError, match="no memory"):
        translated(replace(PROFILE, fields=Broken(MemoryError())))


@pytest.mark.parametrize("field", ["user_agent", "client_name", "connection", "client_id"])
def test_long_values_are_cut_before_a_message_is_given_up(field: str) -> None:
    identify, track = calls(**{field: "日" * 20_000})
    assert max(size(identify), size(track)) <= MAX_MESSAGE_BYTES


def test_a_message_that_fits_is_left_alone() -> None:
    identify, _ = calls(user_agent="x" * 5_000)
    assert fit(identify) is identify
    assert len(identify.context["userAgent"]) == 5_000


@pytest.mark.parametrize("field", ["user_id", "user_agent", "client_name", "user_name"])
def test_half_a_surrogate_pair_never_leaves(field: str) -> None:
    for message in calls(**{field: "a\ud800@example.com"}):
        json.dumps(wire(message), ensure_ascii=False).encode()


@given(
    st.dictionaries(FIELD, JSON),
    st.dictionaries(st.sampled_from(sorted(PROFILE.fields)), JSON),
    st.booleans(),
)
def test_every_record_has_an_outcome_and_every_call_is_valid(
    changes: dict[str, Any], fields: dict[str, Any], known: bool
) -> None:
    profile = replace(PROFILE, fields=fields) if known else None
    (event,) = parse_events([login(**changes)], after=EARLIEST)
    found = outcome_of(TRANSLATOR, event, {"auth0|1": profile} if profile else {})
    assert found == outcome_of(TRANSLATOR, event, {"auth0|1": profile} if profile else {})
    if isinstance(found, DeadLetter):
        assert found.event is event
        assert found.reason in {"unreadable_record", "unparseable_date", "no_user_id", "too_large"}
    elif isinstance(found, Forwardable):
        assert event.type in {"s", "ss"}
        assert user_id_of(event.record)
        for message in found.messages:
            assert size(message) <= MAX_MESSAGE_BYTES
            body = wire(message)
            assert body["userId"]
            assert None not in [
                *body["context"].values(),
                *(body.get("traits") or body.get("properties") or {}).values(),
            ]
            assert "" not in [
                *body["context"].values(),
                *(body.get("traits") or body.get("properties") or {}).values(),
            ]
    else:
        assert event.type not in {"s", "ss"}


@given(
    st.lists(JSON | st.dictionaries(FIELD, JSON).map(lambda changes: login(**changes)), max_size=20)
)
def test_a_page_has_each_event_in_exactly_one_place(records: list[Any]) -> None:
    events = parse_events(records, after=EARLIEST)
    page = Page(events=events, position=LogId("9"), is_end=True, served_at=DATE)
    found = calls_of_page(TRANSLATOR, page, {})
    placed = [
        *(entry.event for entry in found.forwardable),
        *(letter.event for letter in found.dead_letters),
        *(entry.event for entry in found.filtered),
    ]
    assert sorted(map(id, placed)) == sorted(map(id, events))


def test_the_users_of_a_page_are_named_once_in_order() -> None:
    records = [
        login(user_id=user, type=kind)
        for user, kind in [("b", "s"), ("a", "ss"), ("b", "s"), ("c", "w"), ("", "s")]
    ]
    assert TRANSLATOR.select(parse_events(records, after=EARLIEST)).users == ("b", "a")


# Privacy
