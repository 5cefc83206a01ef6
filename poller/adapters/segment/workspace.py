"""The objects of a Segment workspace, parsed from the answers of the Public API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

OnViolation = Literal["ALLOW", "BLOCK", "OMIT"]
"""The effect on a call that breaks a rule.

ALLOW keeps the call, BLOCK drops the call, and OMIT drops only the field at fault.
"""
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A workspace."""

    id: str
    slug: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDetails:
    """A source.

    `write_keys` are empty if the token lacks the role Source Admin. `plan_id` is the id of the
    tracking plan. It is empty if the source has no plan, and in a list of sources, which does not
    state it.
    """

    id: str
    slug: str
    name: str
    is_enabled: bool
    write_keys: tuple[str, ...] = field(repr=False)
    plan_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedItem:
    """A destination or a warehouse of a source."""

    id: str
    name: str
    is_enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CallControls:
    """The controls of a source over one type of call.

    `blocks_unplanned` drops the calls that have no rule. `omits_unplanned_fields` drops the
    properties or traits that the rule of a call does not name. `on_violation` applies to fields
    that break the rule of the call, and `on_common_violation` to fields that break the rule for all
    calls.
    """

    blocks_unplanned: bool = False
    omits_unplanned_fields: bool = False
    on_violation: OnViolation = "ALLOW"
    on_common_violation: OnViolation = "ALLOW"


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """The schema controls of a source. Without Protocols every call is allowed."""

    track: CallControls
    identify: CallControls
    group: CallControls


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of a tracking plan.

    `type` is TRACK, IDENTIFY, GROUP, PAGE, SCREEN or COMMON. A COMMON rule applies to all calls.
    `key` is the name of the event of a TRACK rule. An event can have several versions of its rule,
    and `version` counts from 1.
    """

    type: str
    key: str
    schema: Mapping[str, Any]
    version: int = 1


def parse_workspace(table: Mapping[str, Any]) -> Workspace:
    """Return the workspace of an answer."""
    return Workspace(id=_text(table, "id"), slug=_text(table, "slug"), name=_text(table, "name"))


def parse_source(table: Mapping[str, Any], plan_id: str = "") -> SourceDetails:
    """Return the source of an answer."""
    keys = table.get("writeKeys")
    return SourceDetails(
        id=_text(table, "id"),
        slug=_text(table, "slug"),
        name=_text(table, "name") or _text(table, "slug"),
        is_enabled=table.get("enabled") is not False,
        write_keys=tuple(k for k in keys if isinstance(k, str)) if isinstance(keys, list) else (),
        plan_id=plan_id,
    )


def parse_connection(table: Mapping[str, Any]) -> ConnectedItem:
    """Return the destination or the warehouse of an answer."""
    metadata = table.get("metadata")
    kind = _text(metadata, "name") if isinstance(metadata, Mapping) else ""
    return ConnectedItem(
        id=_text(table, "id"),
        name=_text(table, "name") or kind or _text(table, "id"),
        is_enabled=table.get("enabled") is not False,
    )


def parse_controls(settings: Mapping[str, Any]) -> Controls:
    """Return the schema controls of an answer."""
    return Controls(
        track=_call_controls(settings.get("track"), fields="Properties", unplanned="Event"),
        identify=_call_controls(settings.get("identify"), fields="Traits"),
        group=_call_controls(settings.get("group"), fields="Traits"),
    )


def parse_rule(table: Mapping[str, Any]) -> Rule:
    """Return the rule of an answer."""
    schema, version = table.get("jsonSchema"), table.get("version")
    return Rule(
        type=_text(table, "type").upper(),
        key=_text(table, "key"),
        schema=schema if isinstance(schema, Mapping) else {},
        version=version if isinstance(version, int) else 1,
    )


def _call_controls(table: object, *, fields: str, unplanned: str = "") -> CallControls:
    """Return the controls of one type of call. A missing control allows everything."""
    if not isinstance(table, Mapping):
        return CallControls()
    on_violation: OnViolation = "ALLOW"
    if table.get("allowEventOnViolations") is False:
        on_violation = "BLOCK"
    elif table.get(f"allow{fields}OnViolations") is False:
        on_violation = "OMIT"
    common = str(table.get("commonEventOnViolations", "")).upper()
    on_common: OnViolation = "ALLOW"
    if common == "BLOCK":
        on_common = "BLOCK"
    elif common.startswith("OMIT"):
        on_common = "OMIT"
    return CallControls(
        blocks_unplanned=table.get("allowUnplannedEvents") is False,
        omits_unplanned_fields=table.get(f"allowUnplanned{unplanned}{fields}") is False,
        on_violation=on_violation,
        on_common_violation=on_common,
    )


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    if isinstance(value, str):
        return value[:_LONGEST_NAME]
    return ""
