"""`check` with a token names the source, its state, and each call that its plan would not take."""

import threading
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from poller.cli.checks import Finding
from poller.cli.segment_proof import calls
from poller.cli.segment_proof.workspace import WorkspaceProof, wrong_region_of_token
from poller.cli.wiring.services import connect
from poller.sandbox import Fault
from poller.sandbox.segment.plan import track_rule
from poller.service.lifecycle.exit_codes import Severity
from poller.service.upstream.retry import retrying
from tests.cli.segment_proof.world import World

ID = {"segment__source_id": "src_sandbox"}


def prove(world: World, **changes: Any) -> list[Finding]:
    values = {
        "segment__api_token": world.sandbox.workspace.api_token,
        "segment__api_endpoint": world.sandbox.api_url,
        **changes,
    }
    settings = world.settings(**values)
    with connect(settings, threading.Event()) as services:
        proof = WorkspaceProof(settings=settings, services=services, is_log_readable=True)
        findings = list(proof.findings())
    told = str([asdict(finding) for finding in findings])
    for secret in (world.sandbox.write_key, world.sandbox.workspace.api_token, "w" * 32):
        assert secret not in told
    decided = any(finding.subject == "key" for finding in findings)
    assert proof.is_key_decided == decided
    return findings


def of(findings: list[Finding], subject: str) -> list[Finding]:
    return [finding for finding in findings if finding.subject == subject]


def test_without_a_token_nothing_is_asked(world: World) -> None:
    assert prove(world, segment__api_token="") == []
    assert world.sandbox.faults.seen("public_api") == []


def test_a_read_only_token_shows_workspace_source_outputs_and_plan(world: World) -> None:
    findings = prove(world, **ID)
    assert [finding.text for finding in findings] == [
        "workspace Sandbox, by the token",
        "Auth0 logins, enabled",
        "destinations: Mixpanel",
        "warehouses: Snowflake",
        "the source has no tracking plan",
    ]
    assert {finding.severity for finding in findings} == {Severity.GOOD}


def test_a_read_only_token_needs_the_id_of_the_source(world: World) -> None:
    (finding,) = of(prove(world), "source")
    assert "segment.source_id" in str(finding.hint)
    assert finding.severity is Severity.ATTENTION


@pytest.mark.parametrize("changes", [{}, ID])
def test_a_token_that_sees_keys_proves_the_key_among_many_sources(
    world: World, changes: dict[str, str]
) -> None:
    world.sandbox.workspace.roles.add("Source Admin")
    world.sandbox.workspace.other_sources = 300
    (finding,) = of(prove(world, **changes), "key")
    assert finding.text == "proved: it is of the source Auth0 logins"


@pytest.mark.parametrize("changes", [{}, ID])
def test_a_wrong_key_is_unusable_and_says_where_the_right_one_stands(
    world: World, changes: dict[str, str]
) -> None:
    world.sandbox.workspace.roles.add("Source Admin")
    (finding,) = of(prove(world, segment__write_key="w" * 32, **changes), "key")
    assert finding.text.startswith("segment.write_key is wrong")
    assert finding.severity is Severity.UNUSABLE
    assert "API Keys" in str(finding.hint)


def test_a_disabled_source_is_unusable(world: World) -> None:
    world.sandbox.source.is_enabled = False
    (finding,) = of(prove(world, **ID), "source")
    assert "is disabled" in finding.text
    assert finding.severity is Severity.UNUSABLE
    assert "enable it" in str(finding.hint)


US, EU = "https://api.segment.io", "https://events.eu1.segmentapis.com"
API_US, API_EU = "https://api.segmentapis.com", "https://eu1.api.segmentapis.com"


@pytest.mark.parametrize(
    ("endpoint", "api", "hint"),
    [
        (US, API_US, None),
        (EU, "", None),
        (US, API_EU, f'set segment.endpoint = "{EU}"'),
        (EU, API_US, f'set segment.endpoint = "{US}"'),
        ("https://proxy.acme.com", API_EU, None),
    ],
)
def test_a_token_of_another_region_tells_the_region_of_the_workspace(
    world: World, endpoint: str, api: str, hint: str | None
) -> None:
    settings = world.settings(segment__endpoint=endpoint, segment__api_endpoint=api)
    findings = list(wrong_region_of_token(settings))
    assert [finding.hint for finding in findings] == ([hint] if hint else [])


def test_a_token_that_is_unknown_in_this_region_says_so(world: World) -> None:
    world.sandbox.source.is_elsewhere = True
    (finding,) = prove(world, **ID)
    assert finding.severity is Severity.ATTENTION
    assert "segment.api_endpoint is of the workspace's region" in str(finding.hint)


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        (set(), "Source Read-only"),
        ({"Source Read-only"}, "Tracking Plan Read-only"),
    ],
)
def test_a_missing_role_is_named(world: World, roles: set[str], role: str) -> None:
    world.sandbox.workspace.has_plan = True
    world.sandbox.workspace.roles = roles
    wrong = [each for each in prove(world, **ID) if each.severity is not Severity.GOOD]
    assert [f"lacks the role {role}" in finding.text for finding in wrong] == [True]


@pytest.mark.parametrize("action", ["status", "reset", "cut_body"])
def test_an_outage_of_the_api_is_one_line_and_no_failure(world: World, action: str) -> None:
    world.sandbox.faults.set(Fault(action=action, service="public_api"))
    (finding,) = prove(world, **ID)
    assert finding.text.startswith("could not be asked now: ")
    assert finding.severity is Severity.GOOD


def test_a_rate_limit_is_one_line_too(world: World) -> None:
    world.sandbox.workspace.points = 2
    finding = prove(world, **ID)[-1]
    assert finding.text == "could not be asked now: Segment's API answered 429"
    assert finding.severity is Severity.GOOD


def give_plan(world: World, *rules: dict[str, Any], **track: Any) -> None:
    world.sandbox.workspace.has_plan = True
    world.sandbox.source.plan.rules = list(rules)
    world.sandbox.source.plan.controls["track"] |= track
    at = world.sandbox.clock.now() - timedelta(minutes=1)  # the search index lags
    world.sandbox.traffic.grow(5, start=at, end=at, kinds=["login"])


def test_an_event_that_the_plan_blocks_is_named_with_the_preset_that_it_knows(
    world: World,
) -> None:
    give_plan(world, track_rule("Signed In"), track_rule("Signed Up"), allowUnplannedEvents=False)
    (finding,) = of(prove(world, **ID), "calls")
    assert finding.text.startswith("track Logged In would be blocked")
    assert "5 of the" in finding.text
    assert 'events.preset = "spec"' in str(finding.hint)
    assert finding.severity is Severity.ATTENTION
    assert of(prove(world, events__preset="spec", **ID), "calls")[0].severity is Severity.GOOD


def test_an_event_of_which_there_is_none_yet_is_named_too(world: World) -> None:
    give_plan(world, track_rule("Logged In"), allowUnplannedEvents=False)
    found = of(prove(world, **ID), "calls")
    wrong = [finding.text for finding in found if finding.severity is Severity.ATTENTION]
    assert [text.partition(":")[0] for text in wrong] == ["track Signed Up would be blocked"]


def test_a_rule_of_the_whole_call_is_judged_by_real_calls_only(world: World) -> None:
    """A call without fields would break the rule, and no such call is ever sent."""
    schema = {"type": "object", "minProperties": 5}
    rules = [
        {"type": "TRACK", "key": name, "jsonSchema": schema, "version": 1}
        for name in ("Logged In", "Signed Up")
    ]
    give_plan(world, *rules, allowUnplannedEvents=False, allowEventOnViolations=False)
    (finding,) = of(prove(world, **ID), "calls")
    assert finding.text.startswith("the plan lets")


def test_a_property_that_the_plan_refuses_is_named_and_the_setting_mends_it(
    world: World,
) -> None:
    rule = track_rule("Logged In", clientName={"type": "string"}, clientID={"type": "number"})
    give_plan(world, rule, allowPropertiesOnViolations=False, allowUnplannedEventProperties=False)
    found = {finding.text: finding for finding in of(prove(world, **ID), "calls")}
    dropped = {text.split()[3] for text in found}
    assert dropped >= {"properties.clientID", "properties.connection"}
    assert any("must be number" in text for text in found)
    hint = str(next(each for text, each in found.items() if "clientID" in text).hint)
    assert "[events.properties] clientID = false" in hint


def test_the_plan_and_its_strictness_are_told_in_one_line(world: World) -> None:
    give_plan(world, track_rule("Logged In"), allowEventOnViolations=False)
    (finding,) = of(prove(world, **ID), "plan")
    assert finding.text == "a rule for 1 event, and events that break a rule are blocked"
    give_plan(world, allowEventOnViolations=True)
    (finding,) = of(prove(world, **ID), "plan")
    assert finding.text == "a rule for 0 events, and all tracks are allowed"


def test_a_log_that_cannot_be_read_costs_only_the_calls(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "retrying", partial(retrying, timedelta(seconds=1)))
    give_plan(world, allowUnplannedEvents=False)
    world.sandbox.faults.set(Fault(action="status", service="auth0", status=403, times=None))
    found = prove(world, **ID)
    assert of(found, "plan")[0].severity is Severity.GOOD
