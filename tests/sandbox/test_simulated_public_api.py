"""The simulated Public API answers as Segment documents, and its plan is the one that drops."""

from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.adapters.segment.public_api import PublicApi
from poller.sandbox.segment.plan import track_rule
from tests.sandbox.world import World, track


@pytest.fixture
def api(world: World) -> Iterator[httpx.Client]:
    token = world.sandbox.workspace.api_token
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.segment.v1+json"}
    with httpx.Client(base_url=world.sandbox.api_url, headers=headers, timeout=60) as client:
        yield client


def error(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    assert "data" not in body
    return answer.status_code, body["errors"][0]["type"]


def test_the_api_shows_the_workspace_and_the_source(world: World, api: httpx.Client) -> None:
    assert api.get("/").json()["data"]["workspace"]["name"] == "Sandbox"
    found = api.get("/sources/src_sandbox").json()["data"]
    assert (found["source"]["name"], found["trackingPlanId"]) == ("Auth0 logins", None)
    assert found["source"]["writeKeys"] == []
    world.sandbox.workspace.roles.add("Source Admin")
    found = api.get("/sources/src_sandbox").json()["data"]
    assert found["source"]["writeKeys"] == [world.sandbox.write_key]


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("/sources", "Source Read-only"),
        ("/sources/src_sandbox", "Source Read-only"),
        ("/sources/src_sandbox/settings", "Source Read-only"),
        ("/sources/src_sandbox/connected-destinations", "Source Read-only"),
        ("/tracking-plans/tp_sandbox/rules?pagination.count=200", "Tracking Plan Read-only"),
    ],
)
def test_each_role_opens_its_own_paths(
    world: World, api: httpx.Client, path: str, role: str
) -> None:
    world.sandbox.workspace.has_plan = True
    assert api.get(path).status_code == 200
    world.sandbox.workspace.roles.discard(role)
    assert error(api.get(path)) == (401, "forbidden")


def test_a_token_is_unknown_in_another_region_and_when_it_is_wrong(
    world: World, api: httpx.Client
) -> None:
    wrong = api.get("/", headers={"Authorization": "Bearer wrong"})
    assert error(wrong) == (401, "unauthenticated")
    world.sandbox.source.is_elsewhere = True
    assert error(api.get("/")) == (401, "unauthenticated")


def test_lists_have_pages_and_what_is_no_page_is_refused(world: World, api: httpx.Client) -> None:
    world.sandbox.workspace.other_sources = 250
    http = Http(world.sandbox.api_url, ServerClock())
    sources = PublicApi(world.sandbox.workspace.api_token, http).sources()
    http.close()
    assert len({source.id for source in sources}) == 251
    assert error(api.get("/sources?pagination.count=201")) == (422, "input-validation")
    assert error(api.get("/sources?pagination.cursor=%25")) == (422, "input-validation")
    assert error(api.get("/nothing")) == (404, "not-found")


def test_the_rate_limit_is_told_in_each_answer_and_in_the_refusal(
    world: World, api: httpx.Client
) -> None:
    world.sandbox.workspace.points = 1
    first, second = api.get("/"), api.get("/")
    reset = parsedate_to_datetime(first.headers["X-RateLimit-Reset"])
    assert 0 <= (reset - world.sandbox.clock.now()).total_seconds() <= 60
    assert first.headers["X-RateLimit-Remaining"] == "0"
    assert error(second) == (429, "RequestError")
    assert 0 <= second.json()["errors"][0]["data"]["msBeforeNext"] <= 60_000


TEXT, NUMBER = {"type": "string"}, {"type": "number"}


@pytest.mark.parametrize(
    ("control", "fate", "properties"),
    [
        ({}, "published", {"plan": "x", "more": 1}),
        ({"allowEventOnViolations": False}, "schema_violation", None),
        ({"allowPropertiesOnViolations": False}, "published", {"more": 1}),
        ({"allowUnplannedEventProperties": False}, "published", {"plan": "x"}),
    ],
)
def test_a_plan_blocks_a_message_or_takes_properties_out_of_it(
    world: World, control: dict[str, Any], fate: str, properties: dict[str, Any] | None
) -> None:
    plan = world.sandbox.source.plan
    plan.rules = [track_rule("Logged In", plan=NUMBER)]
    plan.controls["track"] |= control
    world.batch(track(properties={"plan": "x", "more": 1}))
    (arrival,) = world.sandbox.collector.arrivals
    assert arrival.fate == fate
    if properties is not None:
        assert arrival.message is not None
        assert arrival.message["properties"] == properties


def test_a_rule_for_all_calls_can_block_any(world: World) -> None:
    plan = world.sandbox.source.plan
    context = {"type": "object", "required": ["ip"]}
    schema = {"type": "object", "properties": {"context": context}}
    plan.rules = [{"type": "COMMON", "jsonSchema": schema, "version": 1}]
    plan.controls["track"]["commonEventOnViolations"] = "BLOCK"
    world.batch(track("a", context={}), track("b", context={"ip": "192.0.2.1"}))
    assert world.fates() == ["common_schema_violation", "published"]
