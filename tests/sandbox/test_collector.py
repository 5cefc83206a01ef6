"""The collector takes, drops and keeps what Segment documents."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from segment.analytics import Client
from segment.analytics.request import post

from tests.sandbox.world import World, track


def test_the_collector_answers_as_segment_does(world: World) -> None:
    answer = world.batch(track())
    assert (answer.status_code, answer.text) == (200, '{\n  "success": true\n}')
    assert world.fates() == ["published"]


def test_segments_own_library_finds_it_to_be_segment(world: World) -> None:
    client = Client(world.sandbox.write_key, send=False)
    messages = [
        client.identify(user_id="u", traits={"email": "a@example.com"})[1],
        client.track(user_id="u", event="Logged In", timestamp=datetime(2026, 11, 20, tzinfo=UTC))[
            1
        ],
        client.group(user_id="u", group_id="g")[1],
    ]
    answer = post(world.sandbox.write_key, world.sandbox.segment_url, gzip=True, batch=messages)
    assert answer.json() == {"success": True}
    assert world.fates() == ["published"] * 3
    assert world.sandbox.collector.users == {"u": {"email": "a@example.com"}}


def test_a_wrong_key_gets_its_200_and_nothing_more(world: World) -> None:
    assert world.batch(track(), key="w" * 32).status_code == 200
    assert world.fates() == ["dropped"]


@pytest.mark.parametrize("key", ["", "abc123"])
def test_a_very_short_key_is_told_so(world: World, key: str) -> None:
    answer = world.batch(track(), key=key)
    assert answer.status_code == 400
    assert answer.json() == {"success": False, "message": "An invalid write key was provided"}


def test_the_key_may_stand_in_the_header(world: World) -> None:
    auth = httpx.BasicAuth(world.sandbox.write_key, "")
    assert world.segment.post("/v1/import", json={"batch": [track()]}, auth=auth).status_code == 200
    assert world.segment.post("/v1/track", json=track("m2"), auth=auth).status_code == 200
    assert world.fates() == ["published"] * 2


@pytest.mark.parametrize("body", [b"{", b'{"batch": [NaN]}', b"[]", b"{}", b'{"batch": 5}'])
def test_a_body_that_is_not_a_json_batch_is_refused(world: World, body: bytes) -> None:
    assert world.segment.post("/v1/batch", content=body).status_code == 400


def test_a_body_that_is_too_large_is_refused_in_plain_text(world: World) -> None:
    answer = world.batch(
        *[track(f"m{number}", properties={"x": "y" * 30_000}) for number in range(18)]
    )
    assert (answer.status_code, answer.text) == (400, "Bad Request")
    assert world.fates() == []


def test_a_message_that_is_too_large_refuses_its_whole_batch(world: World) -> None:
    large = track("m2", properties={"x": "y" * 33_000})
    assert world.batch(track(), large).status_code == 400
    world.sandbox.collector.refuses_large_messages = False
    assert world.batch(track(), large).status_code == 200


def test_messages_beyond_the_count_are_dropped_behind_a_200(world: World) -> None:
    assert (
        world.batch(*[track(f"m{number}", properties={}) for number in range(2501)]).status_code
        == 200
    )
    assert world.fates().count("published") == 2500
    assert world.fates()[-1] == "excess"


def test_an_empty_batch_is_a_success(world: World) -> None:
    assert world.batch().json() == {"success": True}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"userId": None}, "no_user_anon_id"),
        ({"userId": ""}, "id_not_string"),
        ({"userId": 5}, "id_not_string"),
        ({"event": ""}, "event_not_defined"),
        ({"event": 5}, "event_not_string"),
        ({"properties": []}, "properties_not_object"),
        ({"type": "identify", "traits": []}, "traits_not_object"),
        ({"messageId": "m" * 101}, "id_required"),
    ],
)
def test_a_bad_message_fails_behind_a_200_and_the_good_ones_are_published(
    world: World, changes: dict[str, Any], code: str
) -> None:
    assert world.batch(track("good"), track("bad", **changes)).status_code == 200
    assert world.fates() == ["published", code]


def test_message_ids_count_once_within_a_day_whatever_the_key(world: World) -> None:
    world.sandbox.source.write_keys.add("another" + "0" * 25)
    world.batch(track())
    world.batch(track(), key="another" + "0" * 25)
    world.sandbox.clock.advance(timedelta(hours=25))
    world.batch(track())
    assert world.fates() == ["published", "duplicate", "published"]


def test_the_timestamp_is_moved_by_what_the_senders_clock_was_off(world: World) -> None:
    now = world.sandbox.clock.now()
    sent = now - timedelta(hours=1)
    event = sent - timedelta(minutes=5)
    world.batch(track(timestamp=event.isoformat()), sentAt=sent.isoformat())
    kept = world.sandbox.collector.arrivals[0].message
    assert kept is not None
    assert abs(
        datetime.fromisoformat(kept["timestamp"]) - (now - timedelta(minutes=5))
    ) < timedelta(seconds=5)
    assert kept["originalTimestamp"] == event.isoformat()


def test_a_suppressed_user_is_dropped_and_a_refused_user_refuses_the_batch(world: World) -> None:
    world.sandbox.collector.suppressed_users = {"u"}
    assert world.batch(track()).status_code == 200
    world.sandbox.collector.refused_users = {"culprit"}
    assert world.batch(track("m2"), track("m3", userId="culprit")).status_code == 400
    assert world.fates() == ["suppressed"]
