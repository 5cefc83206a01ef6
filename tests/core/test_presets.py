"""The shapes of calls: presets, expressions, memberships, and facts that are sent once."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.config.parsers.expressions import JmesPath
from poller.core.events import LogEvent, parse_events
from poller.core.log_ids import EARLIEST, LogId
from poller.core.messages import (
    MAX_MESSAGE_BYTES,
    Delivery,
    Group,
    Identify,
    Message,
    Track,
)
from poller.core.outcomes import DeadLetter, Filtered, Forwardable, Outcome, Profile
from poller.core.pages import Page
from poller.core.settlement import build_settlement
from poller.core.spans import Span
from poller.core.translation.change_detection import drop_unchanged, keys_to_check
from poller.core.translation.privacy import Privacy
from poller.core.translation.rules import Rules
from poller.core.translation.size_limit import size
from poller.core.translation.translator import LiveTranslator
from tests.builders import JSON, calls_of, calls_of_page, outcome_of
from tests.fakes import STREAM
from tests.paths import DATA
from tests.samples import ADA, DATE, FIELDS, SPEC, login, sample, wire

SPEC_CALLS = json.loads((DATA / "calls-spec.json").read_text())


def outcome(rules: Rules, profile: Profile | None = ADA, **changes: Any) -> Outcome:
    (event,) = parse_events([login(**changes)], after=EARLIEST)
    return outcome_of(LiveTranslator(STREAM, rules), event, {"auth0|1": profile} if profile else {})


def messages(rules: Rules, profile: Profile | None = ADA, **changes: Any) -> tuple[Message, ...]:
    found = outcome(rules, profile, **changes)
    assert isinstance(found, Forwardable), found
    return found.messages


def identify(rules: Rules, profile: Profile | None = ADA, **changes: Any) -> Identify:
    found = messages(rules, profile, **changes)[0]
    assert isinstance(found, Identify)
    return found


def track(rules: Rules, profile: Profile | None = ADA, **changes: Any) -> Track:
    found = messages(rules, profile, **changes)[-1]
    assert isinstance(found, Track)
    return found


@pytest.mark.parametrize("name", sorted(SPEC_CALLS))
def test_every_recorded_event_comes_out_of_the_other_preset_as_its_table_says(name: str) -> None:
    translator = LiveTranslator(STREAM, SPEC)
    for event, expected in zip(
        parse_events(sample(name), after=EARLIEST), SPEC_CALLS[name], strict=True
    ):
        found = outcome_of(translator, event, {})
        if expected == "filtered":
            assert isinstance(found, Filtered)
        else:
            assert isinstance(found, Forwardable)
            assert [wire(message) for message in found.messages] == expected


def test_spec_uses_segments_own_names() -> None:
    who = {"email": "ada@example.com", "name": "Ada Lovelace"}
    assert identify(SPEC).traits == who | {
        "firstName": "Ada",
        "lastName": "Lovelace",
        "username": "ada",
        "phone": "+15550100",
        "avatar": "https://cdn.example.com/ada.png",
        "createdAt": "2020-01-02T03:04:05.678Z",
    }
    signed_in, signed_up = track(SPEC), track(SPEC, type="ss")
    assert (signed_in.event, signed_up.event) == ("Signed In", "Signed Up")
    common = {"username": "ada", "client_name": "Web shop", "client_id": "c1", "connection": "db"}
    assert signed_in.properties == common
    form = {
        "type": "organic",
        "email": "ada@example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
    }
    assert signed_up.properties == common | form | {"phone": "+15550100"}
    assert signed_in.context["traits"] == signed_up.context["traits"] == who
    assert "traits" not in identify(SPEC).context


@pytest.mark.parametrize("agent", ["unknown", "Other 0.0.0 / Other 0.0.0"])
def test_a_signup_that_a_server_asked_for_is_not_called_organic(agent: str) -> None:
    assert "type" not in track(SPEC, type="ss", user_agent=agent).properties


@pytest.mark.parametrize("rules", [Rules(), SPEC], ids=["rule", "spec"])
def test_an_organization_makes_a_group_call_between_identify_and_track(rules: Rules) -> None:
    found = messages(rules, organization_id="org_1", organization_name="acme")
    assert [type(message) for message in found] == [Identify, Group, Track]
    assert all(message.context["groupId"] == "org_1" for message in found)
    group = found[1]
    assert isinstance(group, Group)
    assert (group.group_id, group.traits, group.user_id) == ("org_1", {"name": "acme"}, "auth0|1")
    assert len({message.message_id for message in found}) == 3


def test_without_groups_the_organization_is_context_only() -> None:
    found = messages(Rules(groups=False), organization_id="org_1")
    assert [type(message) for message in found] == [Identify, Track]
    assert found[1].context["groupId"] == "org_1"


def test_lines_add_replace_and_take_away() -> None:
    traits = {
        "plan": JmesPath("user.app_metadata.plan"),
        "email": JmesPath("'nobody'"),
        "name": None,
        "roles": JmesPath("user.app_metadata.roles"),
        "joined": JmesPath("join(', ', user.app_metadata.roles)"),
        "odd": JmesPath("join(', ', user.app_metadata.plan)"),
    }
    found = identify(Rules(preset="spec", traits=traits)).traits
    assert (found["plan"], found["email"], found["joined"]) == ("gold", "nobody", "a, b")
    assert not {"name", "roles", "odd"} & set(found)
    sent = track(
        Rules(
            preset="spec",
            traits=traits,
            properties={"aud": JmesPath("log.audience"), "username": None},
        )
    )
    assert sent.context["traits"] == {"email": "nobody"}
    assert "username" not in sent.properties
    assert (
        track(Rules(properties={"aud": JmesPath("log.audience")}), audience="api").properties["aud"]
        == "api"
    )


def test_an_event_that_fails_the_condition_is_filtered_and_marked_as_declined() -> None:
    rules = Rules(when=JmesPath("log.client_id != 'c1'"))
    declined = outcome(rules)
    assert isinstance(declined, Filtered)
    assert declined.is_declined
    assert isinstance(outcome(rules, client_id="c2"), Forwardable)
    events = parse_events([login(), login(client_id="c2", user_id="auth0|2")], after=EARLIEST)
    assert LiveTranslator(STREAM, rules).select(events).users == ("auth0|2",)


def test_a_declined_event_is_remembered_as_seen() -> None:
    """Without its recent id, the second reading would take the event for a late arrival."""
    read = Page(
        events=logins({}, {"type": "w"}), position=LogId("9001"), is_end=True, served_at=DATE
    )
    calls = calls_of_page(
        LiveTranslator(STREAM, Rules(when=JmesPath("log.client_id != 'c1'"))), read, {}
    )
    settlement = build_settlement(
        Span(id=1, stream=STREAM, after=EARLIEST, reached=EARLIEST), read, calls, Delivery()
    )
    assert settlement.ids_to_remember == ("9000",)
    assert [event.log_id for event in settlement.filtered] == ["9000", "9001"]


def test_an_event_that_other_settings_would_send_is_remembered_as_seen() -> None:
    """Without its recent id, the second reading would send the event and count it again."""
    read = Page(
        events=logins({"type": "sepft"}, {"type": "w"}),
        position=LogId("9001"),
        is_end=True,
        served_at=DATE,
    )
    calls = calls_of_page(LiveTranslator(STREAM, Rules()), read, {})
    settlement = build_settlement(
        Span(id=1, stream=STREAM, after=EARLIEST, reached=EARLIEST), read, calls, Delivery()
    )
    assert settlement.ids_to_remember == ("9000",)


def test_a_condition_on_the_profile_is_read_with_the_profile() -> None:
    rules = Rules(when=JmesPath("user.app_metadata.plan == 'gold'"))
    assert rules.needs_profiles
    assert isinstance(outcome(rules), Forwardable)
    assert isinstance(outcome(rules, None), Filtered)
    assert LiveTranslator(STREAM, rules).select(parse_events([login()], after=EARLIEST)).users == (
        "auth0|1",
    )


@pytest.mark.parametrize("line", ["when", "user_id"])
def test_a_condition_that_cannot_be_evaluated_makes_a_dead_letter(line: str) -> None:
    found = outcome(Rules(**{line: JmesPath("starts_with(log.client_id, 'c')")}), client_id=["c1"])
    assert isinstance(found, DeadLetter)
    assert found.reason == "expression_failed"


def test_the_user_id_is_the_first_that_is_there() -> None:
    rules = Rules(user_id=JmesPath("user.app_metadata.customer_id || log.user_id"))
    assert {message.user_id for message in messages(rules)} == {"c-7"}
    assert {message.user_id for message in messages(rules, None)} == {"auth0|1"}
    nobody = outcome(Rules(user_id=JmesPath("user.app_metadata.customer_id")), None)
    assert isinstance(nobody, DeadLetter)
    assert nobody.reason == "no_user_id"


def test_a_signup_counts_once_whatever_id_it_leaves_under() -> None:
    rules = Rules(user_id=JmesPath("user.app_metadata.customer_id || log.user_id"))
    assert track(rules, type="ss").message_id == track(rules, None, type="ss").message_id


def test_a_linked_account_leaves_under_the_id_that_it_was_linked_to() -> None:
    primary = Profile(user_id="auth0|9", read_at=ADA.read_at, fields=FIELDS)
    assert {message.user_id for message in messages(Rules(), primary)} == {"auth0|9"}


def test_an_event_of_a_linked_account_may_leave_under_the_id_in_the_log() -> None:
    primary = Profile(user_id="auth0|9", read_at=ADA.read_at, fields=FIELDS)
    rules = Rules(linked="logged")
    assert {message.user_id for message in messages(rules, primary)} == {"auth0|1"}


def test_an_event_waits_for_the_search_for_linked_accounts() -> None:
    assert Rules(linked="search").needs_profiles
    assert not Rules(linked="logged").needs_profiles


def test_the_fields_to_ask_for_are_those_that_are_used() -> None:
    lines = {"plan": JmesPath("user.app_metadata.plan"), "audience": JmesPath("log.audience")}
    assert Rules(traits=lines).profile_fields == {
        "email",
        "created_at",
        "logins_count",
        "last_login",
        "app_metadata",
    }
    assert Rules(traits={"all": JmesPath("length(keys(user))")}).profile_fields is None
    assert not Rules(traits=lines).needs_profiles


# --- what was said before ---


def said_by(
    *events: LogEvent, rules: Rules = SPEC, said: dict[str, str] | None = None
) -> list[list[str]]:
    calls = calls_of(LiveTranslator(STREAM, rules), events, {"auth0|1": ADA})
    sifted = drop_unchanged(calls, said or {})
    return [[type(message).__name__ for message in entry.messages] for entry in sifted.forwardable]


def logins(*changes: dict[str, Any]) -> tuple[LogEvent, ...]:
    return parse_events(
        [login(log_id=f"9{n:03d}", **each) for n, each in enumerate(changes)], after=EARLIEST
    )


def test_an_identify_is_sent_on_first_sight_and_when_it_says_something_new() -> None:
    events = logins({}, {}, {"type": "ss"})
    assert said_by(*events) == [["Identify", "Track"], ["Track"], ["Identify", "Track"]]
    assert said_by(*events, rules=Rules()) == [["Identify", "Track"]] * 3


def test_content_that_the_ledger_remembers_is_not_sent_again() -> None:
    events = logins({"organization_id": "org_1"}, {"organization_id": "org_1"})
    calls = calls_of(LiveTranslator(STREAM, SPEC), events, {"auth0|1": ADA})
    assert len(keys_to_check(calls)) == 2
    known = {
        message.fingerprint.key: message.fingerprint.value
        for message in calls.messages
        if message.fingerprint
    }
    assert said_by(*events) == [["Identify", "Group", "Track"], ["Track"]]
    assert said_by(*events, said=known) == [["Track"], ["Track"]]
    assert said_by(*events, said=dict.fromkeys(known, "other"))[0][0] == "Identify"
    assert not any("auth0" in key + value for key, value in known.items())


def test_an_outage_of_profiles_makes_no_identify_of_someone_known() -> None:
    translator = LiveTranslator(STREAM, SPEC)
    (event,) = logins({})
    whole, partial = (
        calls_of(translator, [event], profiles) for profiles in ({"auth0|1": ADA}, {})
    )
    known = {
        message.fingerprint.key: message.fingerprint.value
        for message in whole.messages
        if message.fingerprint
    }
    assert [type(message) for message in drop_unchanged(partial, known).messages] == [Track]
    assert [type(message) for message in drop_unchanged(partial, {}).messages] == [Identify, Track]
    unsure = {
        message.fingerprint.key: message.fingerprint.value
        for message in partial.messages
        if message.fingerprint
    }
    assert [type(message) for message in drop_unchanged(whole, unsure).messages] == [
        Identify,
        Track,
    ]


# --- people ---


@pytest.mark.parametrize("email", ["hmac", "omit"])
def test_an_email_does_not_leave_as_a_name(email: Any) -> None:
    fields = FIELDS | {"name": "ada@example.com", "username": "ADA@example.com"}
    rules = Rules(preset="spec", privacy=Privacy(email=email, hmac_key=b"k"))
    for kind in ("s", "ss"):
        sent = json.dumps(
            [
                wire(m)
                for m in messages(rules, Profile(user_id="auth0|1", read_at=DATE, fields=fields))
            ]
        )
        assert "example.com" not in sent.lower().replace("cdn.example.com", "")
        assert "avatar" not in sent
        local = identify(rules, type=kind)
        assert "username" not in local.traits  # Auth0's nickname is the first part of the e-mail


def test_names_may_be_left_out() -> None:
    rules = Rules(preset="spec", privacy=Privacy(user_name="omit"))
    for kind in ("s", "ss"):
        sent = json.dumps(
            [wire(message) for message in messages(rules, type=kind, user_name="ada")]
        )
        assert not any(name in sent for name in ("Ada", "Lovelace", "+1555", '"ada"'))


# --- whatever comes ---

KEYS = st.sampled_from([*login(), "organization_id", "organization_name", "audience"])
LINES = {
    "plan": JmesPath("user.app_metadata.plan"),
    "any": JmesPath("user.app_metadata"),
    "own": JmesPath("log.details"),
    "text": JmesPath("to_string(log)"),
    "many": JmesPath("keys(user)"),
    "count": JmesPath("length(log.user_name)"),
}
ODD = [
    Rules(preset="spec", identify="changes", traits=LINES, properties=LINES),
    Rules(
        traits=LINES,
        when=JmesPath("user.email != log.ip"),
        user_id=JmesPath("user.name || log.user_id"),
    ),
]


def check_flat(values: Any) -> None:
    for key, value in values.items():
        assert key
        assert isinstance(value, str | int | float | bool)
        assert value != ""
        json.dumps(value, allow_nan=False).encode()


@given(
    st.dictionaries(KEYS, JSON),
    st.dictionaries(st.sampled_from([*FIELDS, "username"]), JSON),
    st.booleans(),
    st.sampled_from(ODD),
)
def test_nothing_leaves_that_is_null_nested_no_number_or_too_large(
    changes: dict[str, Any], fields: dict[str, Any], known: bool, rules: Rules
) -> None:
    profile = Profile(user_id="auth0|1", read_at=DATE, fields=FIELDS | fields)
    (event, *_) = parse_events([login(**changes)], after=LogId("1"))
    found = outcome_of(LiveTranslator(STREAM, rules), event, {"auth0|1": profile} if known else {})
    assert not (isinstance(found, DeadLetter) and found.reason == "untranslatable")
    for message in found.messages if isinstance(found, Forwardable) else ():
        body = wire(message)
        assert message.user_id.strip()
        assert size(message) <= MAX_MESSAGE_BYTES
        check_flat(body.get("traits", {}))
        check_flat(body.get("properties", {}))
        check_flat({key: value for key, value in body["context"].items() if key != "traits"})
        check_flat(body["context"].get("traits", {}))
