"""`check` names a wrong key, a wrong region and calls that are switched off, without a token."""

from dataclasses import asdict
from typing import Any

import pytest

from poller.cli.checks import Finding
from poller.cli.segment_proof.published import prove_by_cdn, wrong_region
from poller.sandbox import Fault
from poller.service.lifecycle.exit_codes import Severity
from tests.adapters.segment.publications import NOTHING
from tests.cli.segment_proof.world import World

WRONG_KEY = "w" * 32


def prove(world: World, **changes: Any) -> dict[str, Finding]:
    findings = list(prove_by_cdn(world.settings(**changes)))
    told = str([asdict(finding) for finding in findings])
    assert world.sandbox.write_key not in told
    assert WRONG_KEY not in told
    return {finding.subject: finding for finding in findings}


def test_a_published_key_is_proved(world: World) -> None:
    findings = prove(world)
    assert findings["key"].text.startswith("proved")
    assert set(findings) == {"key"}


def test_an_unpublished_key_is_not_a_failure_and_the_hint_says_what_to_do(world: World) -> None:
    (finding,) = prove(world, segment__write_key=WRONG_KEY).values()
    assert "a wrong key never" in finding.text
    assert "compare segment.write_key" in str(finding.hint)
    assert finding.severity is Severity.GOOD


def test_a_source_that_is_never_published_is_the_same_line(world: World) -> None:
    world.sandbox.source.is_published = False
    (finding,) = prove(world).values()
    assert "a source of the HTTP API perhaps never" in finding.text
    assert finding.severity is Severity.GOOD


def test_the_wrong_region_is_named_with_the_right_endpoint(world: World) -> None:
    world.sandbox.source.is_elsewhere = True
    finding = prove(world)["region"]
    assert finding.severity is Severity.UNUSABLE
    assert finding.hint == 'set segment.endpoint = "https://eu.sandbox.invalid"'


US, EU = "https://api.segment.io", "https://events.eu1.segmentapis.com"


@pytest.mark.parametrize(
    ("host", "endpoint", "severity"),
    [
        ("api.segment.io", US, None),
        ("events.eu1.segmentapis.com", EU, None),
        ("events.eu1.segmentapis.com", US, Severity.UNUSABLE),
        ("api.segment.io", EU, Severity.UNUSABLE),
        ("api.segment.io", "https://proxy.acme.com", Severity.GOOD),
        ("segment.acme.com", US, Severity.GOOD),
        ("", US, None),
    ],
)
def test_an_endpoint_is_wrong_only_where_no_proxy_may_stand_between(
    world: World, host: str, endpoint: str, severity: Severity | None
) -> None:
    published = type(NOTHING)(**(asdict(NOTHING) | {"host": host}))
    findings = list(wrong_region(world.settings(segment__endpoint=endpoint), published))
    assert [finding.severity for finding in findings] == ([severity] if severity else [])


def test_an_event_that_is_switched_off_is_named(world: World) -> None:
    world.sandbox.source.disabled_events = {"Signed Up"}
    finding = prove(world)["calls"]
    assert finding.text.startswith("track Signed Up is switched off")
    assert "Schema" in str(finding.hint)
    assert finding.severity is Severity.ATTENTION


def test_events_of_the_chosen_preset_count_and_no_other(world: World) -> None:
    world.sandbox.source.allows_unplanned_events = False
    world.sandbox.source.planned_events = {"Signed In", "Signed Up"}
    assert "track Logged In is" in prove(world)["calls"].text
    assert "calls" not in prove(world, events__preset="spec")


@pytest.mark.parametrize("action", ["status", "reset", "cut_body"])
def test_an_outage_of_the_cdn_is_one_line_and_no_failure(world: World, action: str) -> None:
    world.sandbox.faults.set(Fault(action=action, service="cdn"))
    (finding,) = prove(world).values()
    assert finding.text.startswith("could not be proved by Segment's CDN now: ")
    assert finding.severity is Severity.GOOD
    assert len(world.sandbox.faults.seen("cdn")) == 1


def test_nothing_is_asked_where_it_is_switched_off_or_the_endpoint_is_not_segments(
    world: World,
) -> None:
    for changes in ({"segment__cdn_endpoint": "off"}, {"segment__cdn_endpoint": ""}):
        (finding,) = prove(world, **changes).values()
        assert "Segment answers 200 even to a wrong write key" in finding.text
        assert "segment.api_token" in str(finding.hint)
    assert world.sandbox.faults.seen("cdn") == []
