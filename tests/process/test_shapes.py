"""The settings shape the calls, also through outages of the services that the shape needs."""

import json
from typing import Any

from tests.process.bench import Bench, eventually

USERS_DOWN = {
    "action": "status",
    "service": "auth0",
    "path": "/api/v2/users",
    "status": 503,
    "times": None,
}
BY_EMAIL = {"POLLER_EVENTS__USER_ID": "user.email || log.user_id"}


def arrived(bench: Bench) -> list[dict[str, Any]]:
    return [arrival["message"] for arrival in bench.sandbox.ask("messages")]


def test_segments_own_names_arrive_and_an_identify_only_with_something_new(plain: Bench) -> None:
    spec = {
        "POLLER_EVENTS__PRESET": "spec",
        "POLLER_EVENTS__TRAITS": json.dumps({"kind": "'customer'", "avatar": False}),
    }
    ended = plain.run("run", "--once", environ=spec)
    assert ended.code == 0, ended.err
    messages = arrived(plain)
    tracks = [message for message in messages if message["type"] == "track"]
    identifies = [message for message in messages if message["type"] == "identify"]
    assert {message["event"] for message in tracks} == {"Signed In", "Signed Up"}
    assert all(message["context"]["traits"]["email"] for message in tracks)
    assert all(message["traits"]["kind"] == "customer" for message in identifies)
    assert {message["userId"] for message in identifies} == {
        message["userId"] for message in tracks
    }
    said = [
        json.dumps([message["userId"], message["traits"]], sort_keys=True) for message in identifies
    ]
    signups = sum(message["event"] == "Signed Up" for message in tracks)
    assert len(said) - len(set(said)) <= signups
    before = len(messages)
    plain.sandbox.ask("grow", count=60, seconds=0, kinds=["login"])
    plain.run("run", "--once", environ=spec)
    later = arrived(plain)[before:]
    known = {message["userId"] for message in identifies}
    again = [
        message for message in later if message["type"] == "identify" and message["userId"] in known
    ]
    assert later
    assert not any(json.dumps([m["userId"], m["traits"]], sort_keys=True) in said for m in again)


def test_an_outage_of_profiles_sends_nobody_under_another_id(plain: Bench) -> None:
    plain.sandbox.ask("faults", clear=True, set=[USERS_DOWN])
    with plain.start("run", environ=BY_EMAIL) as running:
        eventually("a postponed cycle", lambda: running.says("cycle.postponed"))
        assert arrived(plain) == []
        assert plain.status()["streams"][0]["events"]["forwarded"] == 0
        plain.sandbox.ask("faults", clear=True)
        eventually("messages", lambda: len(arrived(plain)) > 0)
        eventually("the end of the log", lambda: running.says("cycle.finished"))
        running.stop()
    messages = arrived(plain)
    assert all("@" in message["userId"] for message in messages)


def test_an_event_that_fails_the_condition_counts_as_filtered_and_is_never_late(
    plain: Bench,
) -> None:
    only = {"POLLER_EVENTS__WHEN": "log.type == 'ss'", "POLLER_POLL__LATE_WINDOW": "0s"}
    ended = plain.run("run", "--once", environ=only)
    assert ended.code == 0, ended.err
    messages = arrived(plain)
    assert {message.get("event") for message in messages} == {None, "Signed Up"}
    (cycle,) = ended.events("cycle.finished")
    assert cycle["read"] == cycle["filtered"] + cycle["forwarded"]
    assert cycle["forwarded"] == len(messages) / 2
    again = plain.run("run", "--once", environ=only | {"POLLER_POLL__LATE_WINDOW": "10m"})
    assert again.events("event.late") == []
    assert len(arrived(plain)) == len(messages)
