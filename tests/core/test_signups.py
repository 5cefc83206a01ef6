"""Signups, logged or derived from a first login, and the logins that count."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from poller.core.events import parse_events
from poller.core.log_ids import EARLIEST
from poller.core.messages import Track
from poller.core.outcomes import Filtered, Forwardable, Profile
from poller.core.translation.rules import Rules
from poller.core.translation.translator import HistoryTranslator
from tests.builders import outcome_of
from tests.core.event_calls import PROFILE, calls, tracks, translated
from tests.fakes import STREAM
from tests.paths import DATA
from tests.samples import DATE


def test_a_signup_is_signed_up_under_an_id_of_the_users() -> None:
    _, first = calls(type="ss")
    _, again = calls(type="ss", log_id="9002", date="2023-07-27T00:00:00.000Z")
    _, other = calls(type="ss", user_id="auth0|2")
    assert first.event == "Signed Up"
    assert first.message_id == again.message_id != other.message_id


def test_the_last_login_of_a_signup_is_a_later_profiles() -> None:
    assert calls(PROFILE, type="ss")[0].traits["last_login"] == "2023-07-26T12:41:12.000Z"
    stale = replace(PROFILE, read_at=DATE - timedelta(seconds=1))
    assert "last_login" not in calls(stale, type="ss")[0].traits


SOCIAL = {"strategy": "google-oauth2", "strategy_type": "social", "connection": "google-oauth2"}
NEW = replace(PROFILE, fields={**PROFILE.fields, "created_at": "2023-07-26T12:41:10.000Z"})
UNKNOWN_COUNT: dict[str, Any] = {"details": {}}
FIRST: dict[str, Any] = {"details": {"stats": {"loginsCount": 1}}}


@pytest.mark.parametrize(
    ("profile", "changes", "is_signup"),
    [
        (NEW, SOCIAL | FIRST, True),
        (NEW, SOCIAL | UNKNOWN_COUNT, True),
        (NEW, SOCIAL, False),  # the seventh login, ten minutes after the first
        (PROFILE, SOCIAL | FIRST, False),  # a count that began anew
        (PROFILE, SOCIAL | UNKNOWN_COUNT, False),
        (None, SOCIAL | FIRST, True),
        (None, SOCIAL | {"details": {"prompts": [{"stats": {"loginsCount": 1}}]}}, True),
        (None, SOCIAL | UNKNOWN_COUNT, False),
        (None, {"strategy": "email", "strategy_type": "passwordless"} | FIRST, True),
        (None, {"strategy": "samlp", "strategy_type": "enterprise"} | FIRST, True),
        (None, {"strategy": "samlp"} | FIRST, True),
        (
            NEW,
            {"strategy": "auth0", "strategy_type": "database"} | FIRST,
            False,
        ),  # its `ss` is logged
        (NEW, {"strategy": "custom-db", "strategy_type": "database"} | FIRST, False),
        (NEW, {"strategy": ..., "connection": ...} | UNKNOWN_COUNT, False),  # an SSO login
        (replace(NEW, fields={"created_at": "2023-07-26T12:41:12.000Z"}), SOCIAL | FIRST, False),
        (replace(NEW, fields={"created_at": "2023-07-26T12:31:11.855Z"}), SOCIAL | FIRST, True),
        (replace(NEW, fields={"created_at": "2023-07-26T12:31:11.854Z"}), SOCIAL | FIRST, False),
        (replace(NEW, fields={"created_at": "soon"}), SOCIAL | FIRST, True),
    ],
)
def test_a_first_login_that_auth0_logs_no_signup_for_is_one_too(
    profile: Profile | None, changes: dict[str, Any], is_signup: bool
) -> None:
    names = [track.event for track in tracks(profile, **changes)]
    assert names == (["Signed Up", "Logged In"] if is_signup else ["Logged In"])
    off = [track.event for track in tracks(profile, rules=Rules(derive_signups=False), **changes)]
    assert off == ["Logged In"]


BARE = {"strategy": ..., "strategy_type": ..., "connection": ..., "details": {}}
"""Return an event without a strategy, a connection and a count of logins."""


def profile_with(*identities: Any) -> Profile:
    return replace(NEW, fields={**NEW.fields, "identities": list(identities)})


@pytest.mark.parametrize(
    "kind", ["scoa", "sens", "sepft", "secte", "sepkotpft", "sepkoobft", "sepkrcft"]
)
@pytest.mark.parametrize(
    ("profile", "changes", "is_signup"),
    [
        (NEW, {"user_id": "email|1"}, True),
        (None, {"user_id": "email|1"} | FIRST, True),
        (None, {"user_id": "email|1"}, False),
        (NEW, {"user_id": "samlp|acme|1"}, True),
        (NEW, {"user_id": "auth0|1"}, False),
        (NEW, {"user_id": "auth0|1", "connection": "google-oauth2"}, False),
        (NEW, {"user_id": "plain", "connection": "sms"}, True),
        (
            profile_with({"provider": "google-oauth2", "connection": "g"}),
            {"user_id": "plain"},
            True,
        ),
        (profile_with({"provider": "auth0", "connection": "db"}), {"user_id": "plain"}, False),
        (
            profile_with(
                {"provider": "auth0", "connection": "db"},
                {"provider": "oidc", "connection": "corp"},
            ),
            {"user_id": "plain", "connection": "corp"},
            True,
        ),
        (profile_with("odd", 7), {"user_id": "plain"}, False),
        (NEW, {"user_id": "plain"}, False),
    ],
)
def test_without_a_strategy_the_user_id_the_connection_or_the_profile_names_the_provider(
    kind: str, profile: Profile | None, changes: dict[str, Any], is_signup: bool
) -> None:
    rules = Rules(login_types=frozenset({kind}))
    names = [
        track.event for track in tracks(profile, rules=rules, **(BARE | {"type": kind} | changes))
    ]
    assert names == (["Signed Up", "Logged In"] if is_signup else ["Logged In"])


@pytest.mark.parametrize(
    ("user_id", "is_signup"),
    [("email|1", True), ("sms|1", True), ("auth0|1", False), ("google-oauth2|1", False)],
)
def test_a_session_without_connection_is_a_first_login_where_it_is_passwordless(
    user_id: str, is_signup: bool
) -> None:
    names = [track.event for track in tracks(NEW, **(BARE | {"user_id": user_id}))]
    assert ("Signed Up" in names) == is_signup


def test_other_types_need_a_strategy_to_be_a_first_login() -> None:
    rules = Rules(login_types=frozenset({"seacft"}))
    (track,) = tracks(NEW, rules=rules, **(BARE | {"type": "seacft", "user_id": "email|1"}))
    assert track.event == "Logged In"


def test_an_embedded_passwordless_login_of_a_backfill_needs_the_profile() -> None:
    (record,) = json.loads((DATA / "files" / "embedded-passwordless.json").read_text())
    (event,) = parse_events([record], after=EARLIEST)
    translator = HistoryTranslator(STREAM, Rules(login_types=frozenset({"s", "scoa"})))
    assert translator.select([event]).users == (record["user_id"],)
    outcome = outcome_of(translator, event, {})
    assert isinstance(outcome, Forwardable)
    assert [m.event for m in outcome.messages if isinstance(m, Track)] == ["Signed Up", "Logged In"]


def test_a_derived_signup_and_a_logged_one_are_the_same_to_segment() -> None:
    derived, login_track = tracks(NEW, **SOCIAL, **FIRST)
    (logged,) = tracks(type="ss")
    assert derived.message_id == logged.message_id != login_track.message_id
    assert dict(derived.properties) == {
        "clientName": "Web shop",
        "clientID": "c1",
        "connection": "google-oauth2",
    }


@pytest.mark.parametrize(
    ("changes", "is_api"),
    [
        ({"details": {"body": {"is_signup": False}}}, True),
        ({"client_name": "All Applications"}, True),
        ({"details": {"body": {"is_signup": True}}}, False),
        ({"details": {"body": {}}}, False),
        ({"details": {"body": {"is_signup": "false"}}}, False),
    ],
)
def test_a_signup_that_nobody_made_says_so_and_may_be_left_out(
    changes: dict[str, Any], is_api: bool
) -> None:
    (track,) = tracks(type="ss", **changes)
    assert track.properties.get("created_by") == ("api" if is_api else None)
    left_out = translated(type="ss", rules=Rules(include_api_signups=False), **changes)
    assert isinstance(left_out, Filtered) == is_api


@pytest.mark.parametrize("agent", ["unknown", "Unknown ", "Other 0.0.0 / Other 0.0.0"])
def test_a_signup_without_a_browser_has_no_address_either(agent: str) -> None:
    (track,) = tracks(type="ss", user_agent=agent)
    assert track.context == {}
    (login_track,) = tracks(user_agent=agent)
    assert set(login_track.context) == {"ip", "userAgent"}


def test_a_login_on_an_existing_session_says_so_and_may_be_left_out() -> None:
    sso: dict[str, Any] = {"connection": ..., "strategy": ..., "details": {"prompts": []}}
    (track,) = tracks(**sso)
    assert track.properties == {"clientName": "Web shop", "clientID": "c1", "sso": True}
    assert isinstance(translated(rules=Rules(include_sso_logins=False), **sso), Filtered)
    assert isinstance(translated(rules=Rules(include_sso_logins=False)), Forwardable)


def test_other_types_count_as_logins_where_they_are_named() -> None:
    assert isinstance(translated(type="sepft"), Filtered)
    rules = Rules(login_types=frozenset({"s", "sepft"}))
    (track,) = tracks(type="sepft", rules=rules)
    assert track.event == "Logged In"
    assert "sso" not in tracks(type="sepft", rules=rules, connection=..., details={})[0].properties
    assert isinstance(translated(type="s", rules=Rules(login_types=frozenset({"sepft"}))), Filtered)


def test_a_signup_without_a_user_id_takes_that_of_its_form() -> None:
    assert (
        calls(type="ss", user_id="", details={"body": {"user_id": "auth0|9"}})[1].user_id
        == "auth0|9"
    )
