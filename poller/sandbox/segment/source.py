"""A source of a simulated Segment workspace, and the settings that the CDN publishes of it."""

from collections.abc import Mapping
from typing import Any

from poller.sandbox.segment.plan import SimulatedPlan, track_rule

OTHER_REGION = "eu.sandbox.invalid"
"""The host of the region that is not the sandbox's."""


class Source:
    """The state of one source. Tests and the control API change the fields.

    A change of anything is published at once, unless `publishes_late` holds back what was published
    before. `is_published` is false for the kinds of sources that Segment never publishes.
    `disabled_events` are switched off by name, and an `allows_unplanned_events` of false switches
    off all that `planned_events` does not name. Those two are a short way to say it of the `plan`.
    """

    def __init__(self, write_key: str) -> None:
        self.write_keys = {write_key}
        self.is_enabled = True
        self.is_elsewhere = False
        self.is_published = True
        self.requires_oauth = False
        self.host = ""
        self.destinations = ["Mixpanel"]
        self.disabled_events: set[str] = set()
        self.plan = SimulatedPlan()
        self._held_back: dict[str, dict[str, Any]] | None = None

    @property
    def publishes_late(self) -> bool:
        return self._held_back is not None

    @publishes_late.setter
    def publishes_late(self, value: bool) -> None:
        self._held_back = self._publications() if value else None

    @property
    def planned_events(self) -> set[str]:
        return self.plan.events

    @planned_events.setter
    def planned_events(self, events: set[str]) -> None:
        self.plan.rules = [track_rule(event) for event in sorted(events)]

    @property
    def allows_unplanned_events(self) -> bool:
        return bool(self.plan.controls["track"]["allowUnplannedEvents"])

    @allows_unplanned_events.setter
    def allows_unplanned_events(self, value: bool) -> None:
        self.plan.controls["track"]["allowUnplannedEvents"] = value

    def published(self, write_key: str) -> Mapping[str, Any] | None:
        """Return the settings that the CDN has for this key."""
        publications = self._publications() if self._held_back is None else self._held_back
        return publications.get(write_key)

    def discard_reason(self, message: Mapping[str, Any]) -> str | None:
        """Return why this source drops a valid message after the 200, by Segment's code."""
        if self.is_elsewhere:
            return "wrong_region"  # a code of ours: Segment documents none
        if not self.is_enabled:
            return "source_disabled"
        is_off = message.get("type") == "track" and message.get("event") in self.disabled_events
        if is_off:
            return "event_setting"
        return self.plan.discard_reason(message)

    def _publications(self) -> dict[str, dict[str, Any]]:
        if not self.is_published:
            return {}
        return {key: self._publication(key) for key in self.write_keys}

    def _publication(self, write_key: str) -> dict[str, Any]:
        host = OTHER_REGION if self.is_elsewhere else self.host
        own = {"apiKey": write_key, "apiHost": f"{host}/v1", "unbundledIntegrations": []}
        names = {name: name not in self.disabled_events for name in self.planned_events}
        names |= dict.fromkeys(self.disabled_events, False)
        return {
            "integrations": {
                "Segment.io": own,
                **{name: {"versionSettings": {}} for name in self.destinations},
            },
            "plan": {
                "track": {
                    "__default": _rule(is_on=self.allows_unplanned_events),
                    **{name: _rule(is_on=is_on) for name, is_on in names.items()},
                },
                "identify": {"__default": _rule(is_on=True)},
                "group": {"__default": _rule(is_on=True)},
            },
            "edgeFunction": {},
        }


def _rule(*, is_on: bool) -> dict[str, Any]:
    return {"enabled": is_on, "integrations": {}}
