"""The setting that mends a call which the tracking plan would block or trim."""

import json
import re
from collections.abc import Collection
from typing import Any, get_args

from poller.adapters.segment.tracking_plan import PlanVerdict
from poller.cli.wiring.services import rules_of
from poller.config import Settings
from poller.core.translation.choices import PresetName
from poller.core.translation.presets import PRESETS

_TABLES = {("track", "properties"): "events.properties", ("identify", "traits"): "events.traits"}
_CONTEXT = {"ip": 'privacy.ip = "omit"', "userAgent": 'privacy.user_agent = "omit"'}
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def remedy(
    verdict: PlanVerdict, call: dict[str, Any], settings: Settings, planned: Collection[str]
) -> str:
    """Return the setting to change, or the change of the plan.

    `planned` are the names of the events that the plan has a rule for.
    """
    if verdict.is_unplanned:
        return _rename(str(call.get("event")), settings, planned)
    place, *rest = verdict.path or ("",)
    table = _TABLES.get((call["type"], place))
    if table is not None and rest:
        return _line(table, rest[0], is_missing=verdict.is_missing)
    if place == "context" and rest and rest[0] in _CONTEXT and not verdict.is_missing:
        return f"set {_CONTEXT[rest[0]]}, or change the plan"
    if call["type"] == "group":
        return "set events.groups = false, or change the plan"
    return "change the plan: no setting changes this field"


def _line(table: str, name: str, *, is_missing: bool) -> str:
    key = name if _BARE_KEY.fullmatch(name) else json.dumps(name)
    if is_missing:
        return f'add it by an expression: [{table}] {key} = "..."'
    return f'leave it out by [{table}] {key} = false, or send another value by {key} = "..."'


def _rename(event: str, settings: Settings, planned: Collection[str]) -> str:
    """Name the setting that gives this event another name.

    A preset is named if its name for the event is in the plan.
    """
    shape = rules_of(settings).shape
    own = {shape.logged_in: "login", shape.signed_up: "signup"}.get(event)
    if own is None:
        return "add the event to the tracking plan, or give it another name in [events.types]"
    for name in get_args(PresetName):
        other = PRESETS[name]
        renamed = other.logged_in if own == "login" else other.signed_up
        if renamed in planned and renamed != event:
            return f'set events.preset = "{name}", which calls it {renamed}, or add it to the plan'
    return f"add the event to the tracking plan, or set events.names.{own} to a name in the plan"
