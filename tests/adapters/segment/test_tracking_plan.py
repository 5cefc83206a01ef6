"""A tracking plan tells what it does to a call, by its rules and controls alone."""

from dataclasses import replace
from typing import Any

import pytest

from poller.adapters.segment.tracking_plan import (
    PlanVerdict,
    TrackingPlan,
    UnreadableRuleError,
)
from poller.adapters.segment.workspace import CallControls, Controls, Rule
from tests.scripted import Reply, Scripted

ALLOWED = CallControls()
PERSON = "ada@example.com"
CALL = {
    "type": "track",
    "event": "Logged In",
    "context": {"ip": "192.0.2.1"},
    "properties": {"plan": PERSON, "more": 1},
}


def track_rule(schema: dict[str, Any], key: str = "Logged In") -> Rule:
    whole = {"type": "object", "properties": {"properties": {"type": "object", **schema}}}
    return Rule(type="TRACK", key=key, schema=whole)


def controls(**track: Any) -> Controls:
    return Controls(track=CallControls(**track), identify=ALLOWED, group=ALLOWED)


def judge(*rules: Rule, call: dict[str, Any] = CALL, **track: Any) -> list[PlanVerdict]:
    verdicts = list(TrackingPlan(rules, controls(**track)).judge(call))
    assert PERSON not in repr(verdicts)
    return verdicts


def blocked(*path: str, reason: str, is_missing: bool = False) -> PlanVerdict:
    return PlanVerdict(effect="blocked", path=path, reason=reason, is_missing=is_missing)


def omitted(*path: str, reason: str) -> PlanVerdict:
    return PlanVerdict(effect="omitted", path=path, reason=reason)


NUMBER = {"properties": {"plan": {"type": "number"}}}


def test_a_plan_without_controls_does_nothing() -> None:
    assert judge(track_rule(NUMBER)) == judge() == []


def test_an_event_without_a_rule_is_blocked_where_unplanned_ones_are() -> None:
    (verdict,) = judge(track_rule({}, "Signed In"), blocks_unplanned=True)
    assert (verdict.effect, verdict.path, verdict.is_unplanned) == ("blocked", (), True)
    assert judge(track_rule({}), blocks_unplanned=True) == []
    identify = {"type": "identify", "traits": {}, "context": {}}
    assert judge(call=identify, blocks_unplanned=True) == []


@pytest.mark.parametrize(
    ("schema", "path", "reason"),
    [
        (NUMBER, "plan", "must be number"),
        ({"properties": {"plan": {"type": ["null", "number"]}}}, "plan", "must be null or number"),
        ({"properties": {"plan": {"enum": ["free"]}}}, "plan", "must be one of the values"),
        ({"properties": {"plan": {"pattern": "^x"}}}, "plan", "does not have the pattern"),
        ({"properties": {"plan": {"format": "ipv4"}}}, "plan", "does not have the format"),
        ({"properties": {"plan": {"maxLength": 2}}}, "plan", "breaks the plan's maxLength"),
        ({"properties": {"plan": {}}, "additionalProperties": False}, "more", "is not in the plan"),
    ],
)
def test_a_property_that_breaks_its_rule_is_named_with_what_the_rule_wants(
    schema: dict[str, Any], path: str, reason: str
) -> None:
    (blocks,) = judge(track_rule(schema), on_violation="BLOCK")
    (omits,) = judge(track_rule(schema), on_violation="OMIT")
    assert (blocks.effect, omits.effect) == ("blocked", "omitted")
    assert blocks.path == omits.path == ("properties", path)
    assert blocks.reason.startswith(reason)


def test_each_missing_property_blocks_and_none_can_be_left_out() -> None:
    rule = track_rule({"required": ["plan", "amount", "tax"]})
    assert judge(rule, on_violation="OMIT") == []
    assert judge(rule, on_violation="BLOCK") == [
        blocked("properties", "amount", reason="is required", is_missing=True),
        blocked("properties", "tax", reason="is required", is_missing=True),
    ]


def test_of_several_versions_the_oldest_judges_as_no_call_names_one() -> None:
    strict = track_rule(NUMBER)
    for oldest, verdicts in ((strict, 1), (track_rule({}), 0)):
        other = track_rule({}) if verdicts else strict
        rules = [replace(other, version=2), oldest, replace(other, version=3)]
        assert len(judge(*rules, on_violation="BLOCK")) == verdicts


def test_properties_that_the_rule_does_not_name_are_left_out_where_unplanned_ones_are() -> None:
    expected = [omitted("properties", "more", reason="is not in the plan")]
    rule = track_rule({"properties": {"plan": {}}})
    assert judge(rule, omits_unplanned_fields=True) == expected
    both = judge(rule, omits_unplanned_fields=True, on_violation="BLOCK")
    assert both == expected
    assert judge(omits_unplanned_fields=True) == []


def test_the_rule_for_all_calls_has_a_control_of_its_own() -> None:
    ip = {"properties": {"context": {"properties": {"ip": {"type": "number"}}}}}
    common = Rule(type="COMMON", key="", schema=ip)
    reason = "must be number"
    assert judge(common, on_common_violation="BLOCK") == [blocked("context", "ip", reason=reason)]
    assert judge(common, on_common_violation="OMIT") == [omitted("context", "ip", reason=reason)]
    assert judge(common, on_violation="BLOCK") == []


def test_traits_have_the_rule_and_the_controls_of_their_call() -> None:
    traits = {"properties": {"traits": {"properties": {"email": {"type": "number"}}}}}
    rules = [Rule(type=kind, key="", schema=traits) for kind in ("IDENTIFY", "GROUP")]
    strict = CallControls(omits_unplanned_fields=True, on_violation="OMIT")
    plan = TrackingPlan(rules, Controls(track=ALLOWED, identify=strict, group=ALLOWED))
    call = {"traits": {"email": PERSON, "age": 7}}
    assert plan.judge({"type": "identify", **call}) == (
        omitted("traits", "email", reason="must be number"),
        omitted("traits", "age", reason="is not in the plan"),
    )
    assert plan.judge({"type": "group", **call}) == ()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"properties": 7},
        {"$ref": "#/definitions/missing"},
        {"properties": {"event": {"pattern": "("}}},
        {"definitions": {"a": {"$ref": "#/definitions/a"}}, "$ref": "#/definitions/a"},
        {"$schema": ["odd"]},
    ],
)
def test_a_rule_that_is_no_schema_is_told_and_not_applied(schema: dict[str, Any]) -> None:
    rule = Rule(type="TRACK", key="Logged In", schema=schema)
    with pytest.raises(UnreadableRuleError):
        judge(rule, on_violation="BLOCK")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_schema_elsewhere_is_never_fetched(scripted: Scripted) -> None:
    scripted.replies = [Reply(body=b"{}")]
    schema = {"$ref": f"{scripted.origin}/schema.json"}
    rule = Rule(type="TRACK", key="Logged In", schema=schema)
    with pytest.raises(UnreadableRuleError):
        judge(rule, on_violation="BLOCK")
    assert scripted.asked == []
