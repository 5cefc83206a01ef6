"""`check` and `preview` name what Segment would drop, each before the first event."""

import json
from typing import Any

import pytest

from tests.process.bench import Bench, Ended

NUMBER = {"type": "number"}


def rule(event: str, **properties: Any) -> dict[str, Any]:
    whole = {"type": "object", "properties": {"properties": {"properties": properties}}}
    return {"type": "TRACK", "key": event, "jsonSchema": whole, "version": 1}


def settings(plain: Bench, **changes: Any) -> None:
    facts = plain.sandbox.facts
    plain.write_settings(
        **{
            "segment__cdn_endpoint": facts["cdn_url"],
            "segment__api_endpoint": facts["api_url"],
            "segment__api_token": facts["api_token"],
            "segment__source_id": "src_sandbox",
            **changes,
        }
    )


def run(plain: Bench, *arguments: str) -> Ended:
    ended = plain.run(*arguments, environ={"COLUMNS": "250"})
    for secret in (plain.sandbox.facts["write_key"], plain.sandbox.facts["api_token"], "w" * 32):
        assert secret not in ended.out + ended.err
    return ended


def test_check_proves_a_good_set_up_before_the_first_event(plain: Bench) -> None:
    plain.sandbox.ask("plan", rules=[rule("Logged In"), rule("Signed Up")])
    settings(plain)
    ended = run(plain, "check")
    assert ended.code == 0, ended.out
    for text in (
        "workspace Sandbox",
        "Auth0 logins, enabled",
        "destinations: Mixpanel",
        "warehouses: Snowflake",
        "a rule for 2 events",
        "the plan lets the",
        "proved: Segment publishes",
    ):
        assert text in ended.out
    assert not plain.ledger.exists()
    assert plain.sandbox.ask("messages") == []


def wrong_key(plain: Bench) -> None:
    plain.sandbox.ask("workspace", roles=["Source Admin", "Tracking Plan Read-only"])
    settings(plain, segment__write_key="w" * 32)


def wrong_key_by_cdn(plain: Bench) -> None:
    settings(
        plain,
        segment__write_key="w" * 32,
        segment__api_token="sgp_none",
        segment__api_endpoint="http://127.0.0.1:1",
    )


def disabled(plain: Bench) -> None:
    plain.sandbox.ask("source", is_enabled=False)


def elsewhere(plain: Bench) -> None:
    plain.sandbox.ask("source", is_elsewhere=True)


def blocked(plain: Bench) -> None:
    plain.sandbox.ask(
        "plan", rules=[rule("Signed In"), rule("Signed Up")], track={"allowUnplannedEvents": False}
    )


def refused(plain: Bench) -> None:
    plain.sandbox.ask(
        "plan",
        rules=[rule("Logged In", clientID=NUMBER)],
        track={"allowPropertiesOnViolations": False},
    )


@pytest.mark.parametrize(
    ("go_wrong", "code", "said", "hint"),
    [
        (wrong_key, 78, "segment.write_key is wrong", "API Keys"),
        (wrong_key_by_cdn, 0, "a wrong key never", "compare segment.write_key"),
        (disabled, 78, "Auth0 logins is disabled", "enable it in Segment"),
        (elsewhere, 78, "the source is at https://eu.", "set segment.endpoint"),
        (blocked, 3, "track Logged In would be blocked", 'events.preset = "spec"'),
        (
            refused,
            3,
            "properties.clientID would be dropped",
            "[events.properties] clientID = false",
        ),
    ],
    ids=lambda case: getattr(case, "__name__", ""),
)
def test_check_names_what_would_be_lost_and_what_to_do(
    plain: Bench, go_wrong: Any, code: int, said: str, hint: str
) -> None:
    settings(plain)
    go_wrong(plain)
    ended = run(plain, "check")
    assert ended.code == code, ended.out
    assert said in ended.out
    assert hint in ended.out


def test_an_outage_of_both_is_two_lines_of_check_and_none_of_its_exit_code(plain: Bench) -> None:
    settings(plain)
    for service in ("cdn", "public_api"):
        fault = {"action": "reset", "service": service, "times": None}
        plain.sandbox.ask("faults", set=[fault])
    ended = run(plain, "check")
    assert ended.code == 0, ended.out
    assert "could not be proved by Segment's CDN now" in ended.out
    assert "could not be asked now" in ended.out
    assert "Traceback" not in ended.err
    preview = run(plain, "preview", "--json", "--last", "1")
    assert preview.code == 0
    assert json.loads(preview.out)[0]["plan"] == []
    assert "The tracking plan could not be read" in preview.err


def test_preview_marks_each_call_that_the_plan_would_not_take(plain: Bench) -> None:
    settings(plain)
    refused(plain)
    rows = json.loads(run(plain, "preview", "--json", "--last", "5").out)
    marked = [each for row in rows for each in row["plan"]]
    assert {each["field"] for each in marked} == {"properties.clientID"}
    tracks = {
        call["messageId"]
        for row in rows
        for call in row["calls"]
        if call.get("event") == "Logged In"
    }
    assert {each["message_id"] for each in marked} == tracks
    table = run(plain, "preview", "--last", "5").out
    assert "would be dropped" in table
    assert "[events.properties]" in table


def test_a_source_that_enforces_oauth_is_used_with_an_application_and_not_without(
    plain: Bench,
) -> None:
    plain.sandbox.ask("source", requires_oauth=True)
    refused = run(plain, "run", "--once")
    assert refused.code == 78
    assert "segment.oauth_client_id" in refused.err
    app = plain.sandbox.ask("oauth")
    key = plain.folder / "oauth.pem"
    key.write_text(app["private_key"])
    plain.write_settings(
        segment__oauth_client_id=app["client_id"],
        segment__oauth_key_id=app["key_id"],
        segment__oauth_private_key_file=str(key),
        segment__oauth_endpoint=plain.sandbox.facts["oauth_url"],
    )
    assert run(plain, "run", "--once").code == 0
    plain.assert_conserved()
    plain.sandbox.ask("oauth", revoke=True)
    plain.sandbox.ask("grow", count=20, seconds=0)
    ended = run(plain, "run", "--once")
    assert ended.code == 0
    assert "Bearer" not in ended.err
    plain.assert_conserved()


def test_the_demo_of_a_wrong_key_shows_the_loss_and_the_discovery(plain: Bench) -> None:
    ended = run(plain, "demo", "--fault", "wrong-key")
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "and kept 0 of them" in said
    assert "a wrong key never" in said
    assert "✗ segment.write_key is wrong" in said
    assert said.count("✓ proved") == 2
