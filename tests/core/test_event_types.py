"""The groups of log event types, and the tracks of events beside logins and signups."""

import pytest

from poller.config.parsers.expressions import JmesPath
from poller.core.events import parse_events
from poller.core.log_ids import EARLIEST
from poller.core.outcomes import DeadLetter, Filtered, Forwardable, Outcome, Profile
from poller.core.translation.event_types import GROUPS, LOGIN_TYPES, SIGNUP, EventType, group_of
from poller.core.translation.log_types import KNOWN_TYPES
from poller.core.translation.privacy import Privacy
from poller.core.translation.rules import Rules
from poller.core.translation.translator import HistoryTranslator, LiveTranslator
from tests.builders import outcome_of
from tests.fakes import STREAM
from tests.paths import DATA
from tests.samples import DATE, login, wire

FAILED = EventType(name="Login Failed", properties={"reason": JmesPath("log.description")})
ANONYMOUS = EventType(name="Login Failed", is_anonymous=True)
_IN_NO_GROUP = """
    acls_summary actions_execution_failed acul_sdk_notice admin_update_launch api_limit
    api_limit_warning appi ciba_exchange_failed ciba_exchange_succeeded ciba_start_failed
    ciba_start_succeeded cls coff con connected_accounts_connection_failed
    connected_accounts_connection_succeeded connected_accounts_delete_failed
    connected_accounts_delete_succeeded cp cs custom_domain_verification_failed depnote
    directory_sync_completed directory_sync_failed directory_sync_started
    failed_on_behalf_of_token_exchange fapi fce fco fcp fcph fcpn fcpr fcpro fcu fd fdeac fdeaz
    fdecc fdeleacft fdelsa fdu feacft feccft fede federated_logout_failed ferrt fertft feta fi flo
    flows_execution_completed flows_execution_failed fn forms_submission_failed
    forms_submission_succeeded fpar fpurh fsa fscim fui fv fvr gd_auth_email_verification
    gd_auth_fail_email_verification gd_send_email gd_send_email_verification
    gd_send_email_verification_failure gd_send_pn gd_send_pn_failure gd_send_sms
    gd_send_sms_failure gd_send_voice gd_send_voice_failure gd_start_auth gd_start_enroll
    gd_start_enroll_failed gd_tenant_update gd_update_device_account gd_webauthn_challenge_failed
    gd_webauthn_enrollment_failed idjag_exchange_failed idjag_exchange_succeeded
    jwt_bearer_exchange_failed kms_key_management_failure kms_key_management_success
    kms_key_state_changed limit_delegation limit_phone limit_ui mfar mgmt_api_read
    my_account_authentication_method_failed my_account_authentication_method_succeeded
    oidc_backchannel_logout_failed oidc_backchannel_logout_succeeded organization_member_added
    passkey_challenge_failed passkey_challenge_started pla resource_cleanup
    rich_consents_access_error sapi sce scpn scpr scu scv sd sdel sdeleacft sdelsa seccft sede
    sertft seta si srrt ss_sso_failure ss_sso_info ss_sso_success sscim
    success_on_behalf_of_token_exchange sui svr too_many_records ublkdu universal_logout_failed
    universal_logout_succeeded w wn wum
"""
"""The types that are a step on the way, or no action of a user."""


def outcome(
    event_type: EventType = FAILED, *, rules: Rules | None = None, **changes: object
) -> Outcome:
    rules = rules or Rules(event_types={"f": event_type}, privacy=Privacy(hmac_key=b"k"))
    (event,) = parse_events([login(type="f", **changes)], after=EARLIEST)
    return outcome_of(LiveTranslator(STREAM, rules), event, {})


def sent(found: Outcome) -> list[dict[str, object]]:
    assert isinstance(found, Forwardable)
    return [wire(message) for message in found.messages]


def test_every_type_that_auth0_has_published_is_placed() -> None:
    lines = (DATA / "auth0-log-types.tsv").read_text().splitlines()
    published = {line.split("\t")[0] for line in lines if not line.startswith("#")} - {"type"}
    grouped = [event_type for types in GROUPS.values() for event_type in types]
    placed = [*grouped, *LOGIN_TYPES, SIGNUP, *_IN_NO_GROUP.split()]
    assert sorted(placed) == sorted(published)
    assert published <= KNOWN_TYPES


def test_a_group_is_found_by_its_type() -> None:
    assert (group_of("fp"), group_of("w")) == ("failed_login", None)


def test_an_event_of_a_further_type_is_one_track() -> None:
    (track,) = sent(outcome(description="Wrong password."))
    assert (track["type"], track["event"]) == ("track", "Login Failed")
    assert track["userId"] == "auth0|1"
    assert "anonymousId" not in track
    assert track["properties"] == {
        "clientName": "Web shop",
        "clientID": "c1",
        "connection": "db",
        "type": "f",
        "reason": "Wrong password.",
    }


def test_a_further_type_is_filtered_until_it_is_asked_for() -> None:
    found = outcome(rules=Rules())
    assert isinstance(found, Filtered)
    assert (found.reason, found.is_declined) == ("type", True)


@pytest.mark.parametrize("absent", [None, "", ...])
def test_an_event_without_a_user_is_filtered_with_that_reason(absent: object) -> None:
    found = outcome(user_id=absent)
    assert isinstance(found, Filtered)
    assert found.reason == "no_user"


def test_an_event_without_a_user_may_go_out_under_a_hash_of_its_user_name() -> None:
    (track,) = sent(outcome(ANONYMOUS, user_id="", user_name="Ada@Example.com "))
    (again,) = sent(outcome(ANONYMOUS, user_id="", user_name="ada@example.com", log_id="9002"))
    assert "userId" not in track
    assert track["anonymousId"] == again["anonymousId"]
    assert "ada" not in str(track).lower()
    assert len(str(track["anonymousId"])) == 64


@pytest.mark.parametrize("name", ["", "a***@e***.com", None])
def test_an_event_without_a_user_and_a_name_is_filtered_all_the_same(name: object) -> None:
    found = outcome(ANONYMOUS, user_id="", user_name=name)
    assert isinstance(found, Filtered)
    assert found.reason == "no_user"


@pytest.mark.parametrize("user_id", ["", "auth0|1"])
def test_an_expression_that_needs_a_user_makes_dead_letters_of_users_only(user_id: str) -> None:
    rules = Rules(
        event_types={"f": FAILED}, user_id=JmesPath("starts_with(log.details, 'x') && log.user_id")
    )
    found = outcome(rules=rules, user_id=user_id, details=None)
    assert isinstance(found, DeadLetter if user_id else Filtered)
    assert found.reason == ("expression_failed" if user_id else "no_user")


def test_the_condition_holds_for_further_types_too() -> None:
    found = outcome(
        rules=Rules(event_types={"f": FAILED}, when=JmesPath("log.client_name == 'other'"))
    )
    assert isinstance(found, Filtered)
    assert found.reason == "condition"


def test_a_further_type_without_a_readable_date_is_a_dead_letter() -> None:
    found = outcome(date="soon")
    assert isinstance(found, DeadLetter)
    assert found.reason == "unparseable_date"


def test_history_sends_further_types_and_identifies_nobody_for_them() -> None:
    rules = Rules(event_types={"f": FAILED})
    (event,) = parse_events([login(type="f")], after=EARLIEST)
    found = outcome_of(HistoryTranslator(STREAM, rules), event, {})
    assert isinstance(found, Forwardable)
    assert found.pending_identify is None
    assert [wire(message) for message in found.messages] == sent(outcome(FAILED))


def test_message_ids_depend_on_neither_names_nor_types() -> None:
    (event,) = parse_events([login()], after=EARLIEST)
    plain = outcome_of(LiveTranslator(STREAM), event, {})
    named = outcome_of(LiveTranslator(STREAM, Rules(login_name="User Signed In")), event, {})
    assert isinstance(plain, Forwardable)
    assert isinstance(named, Forwardable)
    assert [each.message_id for each in plain.messages] == [
        each.message_id for each in named.messages
    ]
    assert wire(named.messages[-1])["event"] == "User Signed In"


def test_a_signup_has_the_users_own_name() -> None:
    (event,) = parse_events([login(type="ss")], after=EARLIEST)
    found = outcome_of(LiveTranslator(STREAM, Rules(signup_name="User Signed Up")), event, {})
    assert isinstance(found, Forwardable)
    assert wire(found.messages[-1])["event"] == "User Signed Up"
    assert Rules(signup_name="A", login_name="B").track_names == ("B", "A")


def test_a_login_by_an_agent_names_the_agent_and_may_be_left_out() -> None:
    (event,) = parse_events([login(agent_id="agt_1")], after=EARLIEST)
    found = outcome_of(LiveTranslator(STREAM), event, {})
    assert isinstance(found, Forwardable)
    assert wire(found.messages[-1])["properties"]["agent_id"] == "agt_1"
    left_out = outcome_of(LiveTranslator(STREAM, Rules(include_agents=False)), event, {})
    assert isinstance(left_out, Filtered)
    assert (left_out.reason, left_out.is_declined) == ("agent", True)


def test_an_anonymous_id_of_the_profile_is_in_every_call() -> None:
    rules = Rules(anonymous_id=JmesPath("user.app_metadata.anonymous_id"))
    profile = Profile(
        user_id="auth0|1", read_at=DATE, fields={"app_metadata": {"anonymous_id": "a-1"}}
    )
    (event,) = parse_events([login(organization_id="org_1")], after=EARLIEST)
    found = outcome_of(LiveTranslator(STREAM, rules), event, {"auth0|1": profile})
    assert isinstance(found, Forwardable)
    assert {wire(message)["anonymousId"] for message in found.messages} == {"a-1"}
    assert rules.needs_profiles
    assert rules.profile_fields is not None
    assert "app_metadata" in rules.profile_fields


@pytest.mark.parametrize("value", [None, "", [], {"a": 1}])
def test_an_anonymous_id_that_is_not_flat_is_left_out(value: object) -> None:
    rules = Rules(anonymous_id=JmesPath("log.details.anonymous"))
    (event,) = parse_events([login(details={"anonymous": value})], after=EARLIEST)
    found = outcome_of(LiveTranslator(STREAM, rules), event, {})
    assert isinstance(found, Forwardable)
    assert all("anonymousId" not in wire(message) for message in found.messages)


def test_values_of_the_context_stand_at_their_path() -> None:
    rules = Rules(
        context={
            "campaign.name": JmesPath("log.details.campaign"),
            "locale": JmesPath("log.locale"),
        }
    )
    (event,) = parse_events([login(details={"campaign": "spring"}, locale="de")], after=EARLIEST)
    found = outcome_of(LiveTranslator(STREAM, rules), event, {})
    assert isinstance(found, Forwardable)
    for message in found.messages:
        context = wire(message)["context"]
        assert context["campaign"] == {"name": "spring"}
        assert (context["locale"], context["ip"]) == ("de", "203.0.113.9")


def test_a_path_of_the_context_replaces_a_value_that_is_not_a_table() -> None:
    rules = Rules(context={"ip.first": JmesPath("log.ip")})
    (event,) = parse_events([login()], after=EARLIEST)
    found = outcome_of(LiveTranslator(STREAM, rules), event, {})
    assert isinstance(found, Forwardable)
    assert wire(found.messages[-1])["context"]["ip"] == {"first": "203.0.113.9"}


def test_each_field_leaves_in_its_own_form() -> None:
    fields = {
        "traits.email": "hmac",
        "properties.connection": "omit",
        "properties.clientID": "hmac",
        "context.ip": "omit",
        "context.campaign.name": "hmac",
    }
    rules = Rules(
        context={"campaign.name": JmesPath("log.client_name")},
        privacy=Privacy(fields=fields, hmac_key=b"k"),  # type: ignore[arg-type]
    )
    (event,) = parse_events([login(user_name="Ada@example.com")], after=EARLIEST)
    found = outcome_of(LiveTranslator(STREAM, rules), event, {})
    assert isinstance(found, Forwardable)
    identify, track = (wire(message) for message in found.messages)
    hashed = Privacy(email="hmac", hmac_key=b"k")
    assert identify["traits"]["email"] == hashed.of_email("ada@example.com")
    assert track["properties"] == {"clientName": "Web shop", "clientID": hashed.hmac_of("c1")}
    assert track["context"]["campaign"] == {"name": hashed.hmac_of("Web shop")}
    assert "ip" not in track["context"]


def test_a_field_of_the_person_in_a_tracks_context_has_the_form_of_the_trait() -> None:
    rules = Rules(preset="spec", privacy=Privacy(fields={"traits.email": "omit"}))
    (event,) = parse_events([login(user_name="ada@example.com")], after=EARLIEST)
    for translator in (LiveTranslator(STREAM, rules), HistoryTranslator(STREAM, rules)):
        found = outcome_of(translator, event, {})
        assert isinstance(found, Forwardable)
        assert "ada@" not in str([wire(message) for message in found.messages])
