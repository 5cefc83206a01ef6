"""A prediction of what a source's tracking plan does to a call.

Segment applies the plan after it has answered 200, so its answer does not show that a call was
blocked (Segment docs: Protocols, Schema configuration). Each rule is a JSON schema of a whole call.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from poller.adapters.segment.workspace import CallControls, Controls, OnViolation, Rule

Effect = Literal["blocked", "omitted"]
_FIELDS = {"track": "properties", "identify": "traits", "group": "traits"}
_FIELD_DEPTH = 2  # the object and the field, such as ("properties", "plan")
_LONGEST_TYPE = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanVerdict:
    """One effect of the plan on a call.

    `path` leads to the field at fault, such as ("properties", "plan"). It is empty if the whole
    call is at fault. `reason` says what the plan wants, and never holds a value of the call.
    `is_unplanned` is true if the plan has no rule for the call.
    """

    effect: Effect
    path: tuple[str, ...]
    reason: str
    is_missing: bool = False
    is_unplanned: bool = False


@dataclass(frozen=True, slots=True)
class _Violation:
    path: tuple[str, ...]
    reason: str
    is_missing: bool = False


class UnreadableRuleError(Exception):
    """A rule of the plan is not a JSON schema, or cannot be applied here."""


class TrackingPlan:
    """The rules of a plan, and the controls of the source that follows it."""

    def __init__(self, rules: Sequence[Rule], controls: Controls) -> None:
        # A call that names no version is judged by the oldest one (Segment docs: Event Versioning).
        newest_first = sorted(rules, key=lambda rule: rule.version, reverse=True)
        self._rules = {_key(rule): rule for rule in newest_first}
        self._controls = controls
        self._validators: dict[tuple[str, str], Any] = {}

    @property
    def events(self) -> frozenset[str]:
        """The names of the tracks that the plan has a rule for."""
        return frozenset(key for kind, key in self._rules if kind == "TRACK")

    def judge(self, call: Mapping[str, Any]) -> tuple[PlanVerdict, ...]:
        """Return every effect of the plan on a call, which is given in the form that is posted.

        The result is empty if the plan lets the call pass unchanged.

        Raises:
            UnreadableRuleError: the rule for this call cannot be applied.
        """
        kind = str(call["type"])
        controls: CallControls = getattr(self._controls, kind)
        rule = self._rules.get((kind.upper(), str(call.get("event", ""))))
        if rule is None and controls.blocks_unplanned and kind == "track":
            reason = "the tracking plan has no rule for this event"
            return (PlanVerdict(effect="blocked", path=(), reason=reason, is_unplanned=True),)
        verdicts = list(self._verdicts(rule, call, controls.on_violation))
        if rule is not None and controls.omits_unplanned_fields:
            verdicts += _unplanned_fields(rule, call, _FIELDS[kind])
        common = self._rules.get(("COMMON", ""))
        verdicts += self._verdicts(common, call, controls.on_common_violation)
        return tuple(dict.fromkeys(verdicts))

    def _verdicts(
        self, rule: Rule | None, call: Mapping[str, Any], on_violation: OnViolation
    ) -> Iterator[PlanVerdict]:
        if rule is None or on_violation == "ALLOW":
            return
        for violation in self._violations(rule, call):
            is_field = len(violation.path) >= _FIELD_DEPTH and not violation.is_missing
            if on_violation == "BLOCK" or is_field:
                yield PlanVerdict(
                    effect="blocked" if on_violation == "BLOCK" else "omitted",
                    path=violation.path,
                    reason=violation.reason,
                    is_missing=violation.is_missing,
                )

    def _violations(self, rule: Rule, call: Mapping[str, Any]) -> list[_Violation]:
        # Imported here, so a command without a plan does not wait for the library.
        from referencing.exceptions import Unresolvable  # noqa: PLC0415 - same

        try:
            errors = list(self._validator(rule).iter_errors(dict(call)))
        except (Unresolvable, re.error, RecursionError, TypeError, ValueError) as error:
            raise UnreadableRuleError(type(error).__name__) from None
        return [violation for error in errors for violation in _read(error)]

    def _validator(self, rule: Rule) -> Any:
        if _key(rule) not in self._validators:
            self._validators[_key(rule)] = _validator_of(rule.schema)
        return self._validators[_key(rule)]


def _key(rule: Rule) -> tuple[str, str]:
    """Return the type of a rule, with the name of the event for a track."""
    return (rule.type, rule.key if rule.type == "TRACK" else "")


def _validator_of(schema: Mapping[str, Any]) -> Any:
    from jsonschema import Draft7Validator, validators  # noqa: PLC0415 - see `_violations`
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 - same
    from referencing import Registry  # noqa: PLC0415 - same

    kind = validators.validator_for(dict(schema), default=Draft7Validator)
    try:
        kind.check_schema(dict(schema))
    except SchemaError:
        raise UnreadableRuleError("not a JSON schema") from None
    # The registry is empty. The default registry would fetch a schema that a rule names by a URL.
    return kind(dict(schema), registry=Registry(), format_checker=kind.FORMAT_CHECKER)


def _read(error: Any) -> Iterator[_Violation]:
    """Yield the violations in one error, without its message, which quotes the value."""
    path = tuple(map(str, error.absolute_path))
    if error.validator == "required":
        wanted = [name for name in error.validator_value if name not in error.instance]
        yield from (_Violation((*path, str(name)), "is required", True) for name in wanted)
    elif error.validator == "additionalProperties" and error.validator_value is False:
        planned = error.schema.get("properties", {})
        extra = [name for name in error.instance if name not in planned]
        yield from (_Violation((*path, str(name)), "is not in the plan") for name in extra)
    else:
        yield _Violation(path, _wanted(error.validator, error.validator_value))


def _wanted(validator: str, value: Any) -> str:
    """Say what a rule wants of a field, without the value of the field."""
    match validator:
        case "type":
            names = value if isinstance(value, list) else [value]
            return f"must be {' or '.join(map(str, names))}"[:_LONGEST_TYPE]
        case "enum" | "const":
            return "must be one of the values in the plan"
        case "pattern" | "format":
            return f"does not have the {validator} that the plan asks for"
        case _:
            return f"breaks the plan's {validator}"


def _unplanned_fields(rule: Rule, call: Mapping[str, Any], name: str) -> Iterator[PlanVerdict]:
    planned = _properties(_properties(rule.schema).get(name))
    values = call.get(name)
    for field in values if isinstance(values, Mapping) else ():
        if field not in planned:
            reason = "is not in the plan"
            yield PlanVerdict(effect="omitted", path=(name, str(field)), reason=reason)


def _properties(schema: object) -> Mapping[str, Any]:
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    return found if isinstance(found, Mapping) else {}
