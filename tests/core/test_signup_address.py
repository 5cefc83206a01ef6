"""The address of a signup that no browser asked for."""

from typing import Any

import pytest
from hypothesis import given

from poller.core.events import parse_events
from poller.core.log_ids import EARLIEST
from poller.core.outcomes import Forwardable
from poller.core.translation.rules import Rules
from poller.core.translation.signup_address import addresses
from poller.core.translation.translator import LiveTranslator
from tests.builders import JSON
from tests.fakes import STREAM
from tests.samples import login, sample, wire

SIGNUP: dict[str, Any] = {
    "type": "ss",
    "log_id": "9001",
    "ip": "192.0.2.1",
    "user_agent": "unknown",
    "date": "2023-07-26T12:41:00.000Z",
}
LOGIN: dict[str, Any] = {
    "log_id": "9002",
    "ip": "203.0.113.9",
    "user_agent": "Chrome",
    "date": "2023-07-26T12:41:30.000Z",
}
CREATED: dict[str, Any] = {
    "type": "sapi",
    "log_id": "9000",
    "description": "Create a User",
    "details": {"response": {"body": {"user_id": "auth0|1"}}},
}
ANDROID = {"auth0_client": {"name": "Auth0.Android", "version": "2.10.0"}}
IOS = {"auth0_client": {"name": "A", "env": {"iOS": "17.1", "swift": "5.x"}}}
SERVER = {"auth0_client": {"name": "node-auth0", "env": {"node": "20.1.0"}}}
OWN = {"ip": "192.0.2.1"}
OF_LOGIN = {"ip": "203.0.113.9", "userAgent": "Chrome"}


def context(*records: dict[str, Any]) -> dict[str, Any]:
    """Return the context of the signup among these events of one page."""
    events = parse_events([login(**record) for record in records], after=EARLIEST)
    translator = LiveTranslator(STREAM, Rules(find_signup_address=True))
    for found in translator.outcomes(translator.select(events), {}):
        if isinstance(found, Forwardable) and found.event.type == "ss":
            contexts = [wire(message)["context"] for message in found.messages]
            assert contexts[0] == contexts[1]
            return dict(contexts[1])
    raise AssertionError("there is no signup")


def test_a_server_signup_takes_the_address_of_the_login_that_completes_it() -> None:
    assert context(CREATED, SIGNUP, LOGIN) == OF_LOGIN
    assert context(SIGNUP, LOGIN) == OF_LOGIN


@pytest.mark.parametrize(
    "other",
    [
        {"user_id": "auth0|2"},
        {"client_id": "c2"},
        {"date": "2023-07-26T12:43:00.001Z"},
        {"date": "2023-07-26T12:40:59.999Z"},
        {"date": "soon"},
        {"type": "f"},
        {"client_id": None},
    ],
)
def test_only_a_login_of_the_same_user_and_client_within_two_minutes_completes_a_signup(
    other: dict[str, Any],
) -> None:
    assert context(SIGNUP, LOGIN | other) == {}


def test_a_signup_without_any_evidence_has_no_address() -> None:
    assert context(SIGNUP) == {}
    assert context(SIGNUP | SERVER) == {}


@pytest.mark.parametrize("client", [ANDROID, IOS])
def test_a_signup_from_a_native_app_keeps_its_address(client: dict[str, Any]) -> None:
    assert context(SIGNUP | client) == OWN
    assert context(SIGNUP | client, LOGIN) == OWN


def test_a_login_from_the_same_address_shows_that_the_address_is_the_persons() -> None:
    assert context(SIGNUP, LOGIN | OWN) == OWN


def test_a_login_by_a_server_shows_no_address() -> None:
    assert context(SIGNUP, LOGIN | OWN | {"user_agent": "unknown", "type": "sepft"}) == {}
    of_app = LOGIN | {"user_agent": "Other 0.0.0 / Other 0.0.0", "type": "sepft"} | ANDROID
    assert context(SIGNUP, of_app) == {"ip": "203.0.113.9"}


def test_no_evidence_is_looked_for_by_default() -> None:
    events = parse_events([login(**SIGNUP | ANDROID), login(**LOGIN)], after=EARLIEST)
    translator = LiveTranslator(STREAM)
    signup, _ = translator.outcomes(translator.select(events), {})
    assert isinstance(signup, Forwardable)
    assert all(message.context == {} for message in signup.messages)


def test_an_api_operation_on_the_user_outweighs_the_name_of_an_sdk() -> None:
    assert context(CREATED, SIGNUP | ANDROID) == {}
    assert context(SIGNUP | ANDROID, CREATED, LOGIN) == OF_LOGIN
    assert context(SIGNUP | {"details": {"body": {"is_signup": False}}} | IOS) == {}


def test_an_operation_that_made_nobody_shows_no_server() -> None:
    assert context(CREATED | {"description": "Update a User"}, SIGNUP | ANDROID) == OWN
    other = {"details": {"response": {"body": {"user_id": "auth0|2"}}}}
    assert context(CREATED | other, SIGNUP | ANDROID) == OWN


def test_a_signup_from_a_browser_keeps_its_address_and_browser() -> None:
    own = {"ip": "192.0.2.1", "userAgent": "Firefox"}
    assert context(SIGNUP | {"user_agent": "Firefox"}, LOGIN) == own


def test_a_signup_from_a_native_app_is_organic_and_one_by_a_server_is_not() -> None:
    translator = LiveTranslator(STREAM, Rules(preset="spec", find_signup_address=True))
    for record, kind in ((SIGNUP | ANDROID, "organic"), (SIGNUP | SERVER, None)):
        events = parse_events([login(**record)], after=EARLIEST)
        (found,) = translator.outcomes(translator.select(events), {})
        assert isinstance(found, Forwardable)
        assert wire(found.messages[-1])["properties"].get("type") == kind


def test_the_recorded_signup_of_the_dashboard_has_no_address() -> None:
    events = parse_events(sample("07_ss_created_by_mgmt_api_eu_2023.json"), after=EARLIEST)
    assert set(addresses(events).values()) <= {None}


@given(JSON, JSON, JSON)
def test_no_record_makes_the_search_for_an_address_fail(
    signup: object, operation: object, client: object
) -> None:
    records = [
        login(**SIGNUP | {"details": signup, "auth0_client": client, "client_id": client}),
        login(**CREATED | {"details": operation, "description": signup}),
        login(**LOGIN | {"user_id": signup, "ip": operation}),
    ]
    addresses(parse_events(records, after=EARLIEST))
