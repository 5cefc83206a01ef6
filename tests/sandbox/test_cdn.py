"""The simulated CDN publishes what Segment's does, and a source drops what Segment's drops."""

from typing import Any

import httpx
import pytest

from tests.sandbox.world import World, track


def read(world: World, key: str | None = None) -> httpx.Response:
    key = world.sandbox.write_key if key is None else key
    return httpx.get(f"{world.sandbox.cdn_url}/v1/projects/{key}/settings", timeout=60)


def test_the_cdn_publishes_the_key_and_the_host_of_the_region(world: World) -> None:
    own = read(world).json()["integrations"]["Segment.io"]
    assert own["apiKey"] == world.sandbox.write_key
    assert own["apiHost"] == world.sandbox.segment_url.removeprefix("http://") + "/v1"


@pytest.mark.parametrize("path", ["/v1/projects/other/settings", "/", "/v1/projects"])
def test_an_unknown_key_and_an_unknown_path_get_the_same_404(world: World, path: str) -> None:
    answer = httpx.get(world.sandbox.cdn_url + path, timeout=60)
    assert answer.status_code == 404
    assert answer.text == "Cannot GET - Invalid path or write key provided."
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_a_source_that_is_never_published_takes_messages_all_the_same(world: World) -> None:
    world.sandbox.source.is_published = False
    assert read(world).status_code == 404
    world.batch(track())
    assert world.fates() == ["published"]


def test_a_late_publication_shows_the_source_as_it_was(world: World) -> None:
    source, old = world.sandbox.source, world.sandbox.write_key
    source.publishes_late = True
    source.write_keys = {"n" * 32}
    source.is_elsewhere = True
    assert read(world, "n" * 32).status_code == 404
    assert read(world, old).json()["integrations"]["Segment.io"]["apiHost"].startswith("127.0.0.1")
    source.publishes_late = False
    assert read(world, old).status_code == 404
    host = read(world, "n" * 32).json()["integrations"]["Segment.io"]["apiHost"]
    assert host == "eu.sandbox.invalid/v1"


@pytest.mark.parametrize(
    ("changes", "fate"),
    [
        ({"is_elsewhere": True}, "wrong_region"),
        ({"is_enabled": False}, "source_disabled"),
        ({"disabled_events": {"Logged In"}}, "event_setting"),
        ({"allows_unplanned_events": False}, "unplanned"),
        ({"allows_unplanned_events": False, "planned_events": {"Logged In"}}, "published"),
    ],
)
def test_a_source_drops_behind_a_200(world: World, changes: dict[str, Any], fate: str) -> None:
    for name, value in changes.items():
        setattr(world.sandbox.source, name, value)
    assert world.batch(track()).status_code == 200
    assert world.fates() == [fate]
    identify = {"type": "identify", "messageId": "m2", "userId": "u", "traits": {}}
    world.batch(identify)
    assert (world.fates()[1] == "published") == (
        fate in {"event_setting", "unplanned", "published"}
    )


def test_the_plan_that_is_published_is_the_one_that_drops(world: World) -> None:
    source = world.sandbox.source
    source.allows_unplanned_events = False
    source.planned_events = {"Signed In", "Signed Up"}
    source.disabled_events = {"Signed Up"}
    plan = read(world).json()["plan"]["track"]
    shown = {name: rule["enabled"] for name, rule in plan.items()}
    assert shown == {"__default": False, "Signed In": True, "Signed Up": False}
