"""Each thing that a plan blocks or drops comes with the setting that mends it."""

from typing import Any

import pytest

from poller.adapters.segment.tracking_plan import PlanVerdict
from poller.cli.segment_proof.remedies import remedy
from tests.cli.segment_proof.world import World


@pytest.mark.parametrize(
    ("kind", "path", "is_missing", "expected"),
    [
        ("track", ("properties", "clientID"), False, "[events.properties] clientID = false"),
        ("track", ("properties", "my plan"), False, '[events.properties] "my plan" = false'),
        ("track", ("properties", "plan"), True, '[events.properties] plan = "..."'),
        ("identify", ("traits", "email"), False, "[events.traits] email = false"),
        ("identify", ("traits", "email", "x"), False, "[events.traits] email = false"),
        ("group", ("traits", "name"), False, "events.groups = false"),
        ("track", ("context", "ip"), False, 'privacy.ip = "omit"'),
        ("track", ("context", "userAgent"), False, 'privacy.user_agent = "omit"'),
        ("track", ("context", "ip"), True, "no setting changes this field"),
        ("track", ("context", "locale"), True, "no setting changes this field"),
        ("track", ("properties",), True, "no setting changes this field"),
        ("track", (), False, "change the plan"),
        ("identify", (), False, "change the plan"),
    ],
)
def test_the_remedy_names_the_setting_of_the_field(
    world: World, kind: str, path: tuple[str, ...], is_missing: bool, expected: str
) -> None:
    verdict = PlanVerdict(effect="blocked", path=path, reason="", is_missing=is_missing)
    assert expected in remedy(verdict, {"type": kind}, world.settings(), ())


@pytest.mark.parametrize(
    ("event", "planned", "changes", "expected"),
    [
        ("Logged In", {"Signed In"}, {}, 'events.preset = "spec", which calls it Signed In'),
        ("Signed In", {"Logged In"}, {"events__preset": "spec"}, 'events.preset = "rule"'),
        ("Logged In", {"Signed Up"}, {}, "add the event to the tracking plan"),
        ("Signed Up", {"Signed In"}, {}, "add the event to the tracking plan"),
    ],
)
def test_an_event_of_another_name_in_the_plan_is_a_matter_of_the_preset(
    world: World, event: str, planned: set[str], changes: dict[str, Any], expected: str
) -> None:
    verdict = PlanVerdict(effect="blocked", path=(), reason="", is_unplanned=True)
    call = {"type": "track", "event": event}
    assert expected in remedy(verdict, call, world.settings(**changes), planned)
