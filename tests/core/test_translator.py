"""The translation of events: the documented calls for good ones, an outcome for all others."""

import hashlib
import hmac
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
from poller.core.messages import MAX_MESSAGE_BYTES, Identify, Track
from poller.core.outcomes import DeadLetter, Filtered, Forwardable, Outcome, Profile
from poller.core.pages import Page
from poller.core.translation.fields import user_id_of
from poller.core.translation.privacy import Privacy
from poller.core.translation.rules import DEFAULT, Rules
from poller.core.translation.size_limit import fit, size
from poller.core.translation.translator import HistoryTranslator, LiveTranslator
from tests.builders import JSON, calls_of_page, outcome_of
from tests.fakes import STREAM
from tests.paths import DATA
from tests.samples import CALLS, DATE, login, sample, wire

TRANSLATOR = LiveTranslator(STREAM)
PROFILE = Profile(
    user_id="auth0|1",
    read_at=DATE + timedelta(seconds=5),
    fields={
        "email": "profile@example.com",
        "created_at": "2020-01-02T03:04:05.678Z",
        "logins_count": 42,
        "last_login": "2023-07-26T12:41:12.000Z",
    },
)


def translated(
    profile: Profile | None = None, *, rules: Rules = DEFAULT, **changes: Any
) -> Outcome:
    (event,) = parse_events([login(**changes)], after=EARLIEST)
    return outcome_of(
        LiveTranslator(STREAM, rules),
        event,
        {str(user_id_of(event.record)): profile} if profile else {},
    )


def tracks(
    profile: Profile | None = None, *, rules: Rules = DEFAULT, **changes: Any
) -> list[Track]:
    """Return the tracks of an event that is forwarded."""
    found = translated(profile, rules=rules, **changes)
    assert isinstance(found, Forwardable)
    identify, *rest = found.messages
    assert isinstance(identify, Identify)
    return [message for message in rest if isinstance(message, Track)]


def calls(profile: Profile | None = None, **changes: Any) -> tuple[Identify, Track]:
    found = translated(profile, **changes)
    assert isinstance(found, Forwardable)
    identify, track = found.messages
    assert isinstance(identify, Identify)
    assert isinstance(track, Track)
    return identify, track


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


def test_a_signup_is_signed_up_under_an_id_of_the_users() -> None:
    _, first = calls(type="ss")
    _, again = calls(type="ss", log_id="9002", date="2023-07-27T00:00:00.000Z")
    _, other = calls(type="ss", user_id="auth0|2")
    assert first.event == "Signed Up"
    assert first.message_id == again.message_id != other.message_id


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


def test_the_last_login_of_a_signup_is_a_later_profiles() -> None:
    assert calls(PROFILE, type="ss")[0].traits["last_login"] == "2023-07-26T12:41:12.000Z"
    stale = replace(PROFILE, read_at=DATE - timedelta(seconds=1))
    assert "last_login" not in calls(stale, type="ss")[0].traits


@pytest.mark.parametrize(
    ("user_name", "body_email", "email"),
    [
        ("log@example.com", ..., "log@example.com"),
        ("test-user846", "body@example.com", "body@example.com"),
        ("+491701234567", None, None),
        ("not an@e mail.com", 5, None),
        ("@example.com", ..., None),
        ("user@localhost", ..., None),
    ],
)
def test_without_a_profile_the_email_is_the_logs_where_it_is_one(
    user_name: str, body_email: Any, email: str | None
) -> None:
    details = {} if body_email is ... else {"body": {"email": body_email}}
    assert calls(user_name=user_name, details=details)[0].traits.get("email") == email


# Signups that Auth0 does not log, and those that nobody made

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


MASKED = (
    "a***@e***.com",
    "*@example.com",
    "j\u2022\u2022\u2022@example.com",
    "a\u2026@example.com",
)


@pytest.mark.parametrize("masked", MASKED)
def test_a_masked_email_is_no_trait_wherever_it_stands(masked: str) -> None:
    assert not [
        message
        for rules in (
            Rules(),
            Rules(preset="spec"),
            Rules(preset="spec", privacy=Privacy(email="hmac", hmac_key=b"k")),
        )
        for fields in ({}, {"email": masked, "name": masked, "nickname": masked})
        for message in tracks_and_identify(
            rules, fields, user_name=masked, details={"body": {"username": masked}}
        )
        if masked in json.dumps(wire(message), ensure_ascii=False)
        or "email" in wire(message).get("traits", {})
    ]


def tracks_and_identify(rules: Rules, fields: dict[str, Any], **changes: Any) -> list[Any]:
    (event,) = parse_events([login(**changes)], after=EARLIEST)
    profile = replace(PROFILE, fields=fields)
    outcome = outcome_of(LiveTranslator(STREAM, rules), event, {"auth0|1": profile})
    assert isinstance(outcome, Forwardable)
    return list(outcome.messages)


def test_the_profiles_masked_email_gives_way_to_the_events() -> None:
    outcome = tracks_and_identify(Rules(), {"email": "a***@e***.com"})
    assert wire(outcome[0])["traits"]["email"] == "log@example.com"


@pytest.mark.parametrize(
    "ip", ["::ffff:203.0.113.9", "::ffff:cb00:7109", "0:0:0:0:0:ffff:cb00:7109", "203.0.113.9"]
)
def test_an_ipv4_address_inside_ipv6_leaves_as_ipv4(ip: str) -> None:
    (event,) = parse_events([login(ip=ip)], after=EARLIEST)
    outcome = outcome_of(TRANSLATOR, event, {})
    assert isinstance(outcome, Forwardable)
    assert {message.context["ip"] for message in outcome.messages} == {"203.0.113.9"}


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


def test_a_signup_without_a_user_id_takes_that_of_its_form() -> None:
    assert (
        calls(type="ss", user_id="", details={"body": {"user_id": "auth0|9"}})[1].user_id
        == "auth0|9"
    )


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


FIELD = st.sampled_from(sorted(login()))


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

KEYED = Privacy(email="hmac", ip="truncate", user_agent="omit", hmac_key=b"key")


def test_an_email_leaves_as_it_is_to_leave() -> None:
    digest = hmac.new(b"key", b"profile@example.com", hashlib.sha256).hexdigest()
    shouting = replace(PROFILE, fields={**PROFILE.fields, "email": " Profile@Example.COM "})
    for profile in (PROFILE, shouting):
        found = translated(profile, rules=Rules(privacy=KEYED))
        assert isinstance(found, Forwardable)
        assert wire(found.messages[0])["traits"]["email"] == digest
    gone = translated(PROFILE, rules=Rules(privacy=Privacy(email="omit")))
    assert isinstance(gone, Forwardable)
    assert "email" not in wire(gone.messages[0])["traits"]


@pytest.mark.parametrize(
    ("ip", "truncated"),
    [
        ("203.0.113.229", "203.0.113.0"),
        ("2001:db8:1:2:3::4", "2001:db8:1::"),
        ("::ffff:203.0.113.229", "203.0.113.0"),
        ("no address", None),
    ],
)
def test_a_truncated_address_names_a_network(ip: str, truncated: str | None) -> None:
    (track,) = tracks(rules=Rules(privacy=KEYED), ip=ip)
    assert track.context == ({"ip": truncated} if truncated else {})


@given(st.dictionaries(FIELD, JSON), st.booleans())
def test_omitted_personal_data_is_in_no_message(changes: dict[str, Any], known: bool) -> None:
    nothing = Privacy(email="omit", ip="omit", user_agent="omit")
    (event,) = parse_events([login(**changes)], after=EARLIEST)
    found = outcome_of(
        LiveTranslator(STREAM, Rules(privacy=nothing)), event, {"auth0|1": PROFILE} if known else {}
    )
    if isinstance(found, Forwardable):
        for message in found.messages:
            assert message.context == {}
            assert "email" not in wire(message).get("traits", {})
