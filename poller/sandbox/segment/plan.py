"""A tracking plan as Segment applies it: what it blocks, and what it takes out of a message."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft7Validator

_FIELDS = {"track": "properties", "identify": "traits", "group": "traits"}


def default_controls() -> dict[str, Any]:
    """Return the schema controls of a source without Protocols, which allow everything."""
    traits = {"allowUnplannedTraits": True, "allowTraitsOnViolations": True}
    return {
        "track": {
            "allowUnplannedEvents": True,
            "allowUnplannedEventProperties": True,
            "allowEventOnViolations": True,
            "allowPropertiesOnViolations": True,
            "commonEventOnViolations": "ALLOW",
        },
        "identify": {**traits, "commonEventOnViolations": "ALLOW"},
        "group": {**traits, "commonEventOnViolations": "ALLOW"},
    }


def track_rule(event: str, **fields: Any) -> dict[str, Any]:
    """Return a rule for tracks of this name whose properties have these schemas."""
    properties = {"type": "object", "properties": fields}
    schema = {"type": "object", "properties": {"properties": properties}}
    return {"type": "TRACK", "key": event, "jsonSchema": schema, "version": 1}


class SimulatedPlan:
    """The rules and the controls of a source, both in the form of the Public API."""

    def __init__(self) -> None:
        self.rules: list[dict[str, Any]] = []
        self.controls = default_controls()

    @property
    def events(self) -> set[str]:
        """The names of the tracks that have a rule."""
        return {str(rule.get("key")) for rule in self.rules if rule["type"] == "TRACK"}

    def discard_reason(self, message: Mapping[str, Any]) -> str | None:
        """Return why the plan blocks a message, by Segment's code."""
        controls = self.controls.get(str(message.get("type")), {})
        rule = self._rule(message)
        if rule is None and controls.get("allowUnplannedEvents") is False:
            return "unplanned"
        if controls.get("allowEventOnViolations") is False and any(_errors(rule, message)):
            return "schema_violation"
        is_strict = controls.get("commonEventOnViolations") == "BLOCK"
        if is_strict and any(any(_errors(common, message)) for common in self._common()):
            return "common_schema_violation"
        return None

    def trimmed(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the message without the fields that the plan takes out of it."""
        kind = str(message.get("type"))
        controls, fields = self.controls.get(kind, {}), _FIELDS.get(kind, "traits")
        rule, taken = self._rule(message), set[str]()
        values = message.get(fields)
        if not isinstance(values, dict):
            return dict(message)
        if rule is not None and False in (
            controls.get("allowUnplannedEventProperties"),
            controls.get("allowUnplannedTraits"),
        ):
            taken |= set(values) - _planned(rule, fields)
        if False in (
            controls.get("allowPropertiesOnViolations"),
            controls.get("allowTraitsOnViolations"),
        ):
            taken |= {str(path[1]) for path in _errors(rule, message) if path[:1] == [fields]}
        trimmed = copy.deepcopy(dict(message))
        trimmed[fields] = {name: value for name, value in values.items() if name not in taken}
        return trimmed

    def _rule(self, message: Mapping[str, Any]) -> dict[str, Any] | None:
        kind = str(message.get("type")).upper()
        for rule in self.rules:
            is_named = kind != "TRACK" or rule.get("key") == message.get("event")
            if rule["type"] == kind and is_named:
                return rule
        return None

    def _common(self) -> list[dict[str, Any]]:
        return [rule for rule in self.rules if rule["type"] == "COMMON"]


def _errors(rule: dict[str, Any] | None, message: Mapping[str, Any]) -> Iterator[list[Any]]:
    """Yield the path of each violation, down to the field."""
    if rule is None:
        return
    for error in Draft7Validator(rule["jsonSchema"]).iter_errors(message):
        path = list(error.absolute_path)
        missing = (
            [name for name in error.validator_value if f"'{name}' is a required" in error.message]
            if error.validator == "required"
            else []
        )
        yield [*path, *missing] if len([*path, *missing]) > 1 else [*path, *missing, ""]


def _planned(rule: dict[str, Any], fields: str) -> set[str]:
    schema = rule["jsonSchema"].get("properties", {}).get(fields, {})
    return set(schema.get("properties", {}))
