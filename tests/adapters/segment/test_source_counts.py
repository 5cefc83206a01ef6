"""The counts of a source: by the hour of arrival, in windows, with reasons where Segment tells."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.adapters.segment.public_api import (
    AccessDeniedError,
    PublicApi,
    RequestRefusedError,
    UnknownPathError,
)
from poller.adapters.segment.source_counts import KEPT, read_source_counts
from poller.core.counts import SourceCounts, SourceKey, beginning_of_hour
from poller.core.errors import UnusableAnswerError
from poller.core.text.dates import iso
from poller.sandbox import Sandbox
from tests.scripted import Reply, Scripted

HOUR = timedelta(hours=1)
SOURCE = "src_sandbox"


@dataclass
class World:
    """A sandbox at ten minutes past an hour, and a client of its Public API."""

    sandbox: Sandbox
    api: PublicApi

    @property
    def now(self) -> datetime:
        return self.sandbox.clock.now()

    def arrive(self, *ids: str, key: str | None = None, event: str | None = "Logged In") -> None:
        """Let messages arrive. Without an event they are identifies."""
        made = [
            {"type": "track" if event else "identify", "messageId": each, "userId": each}
            | ({"event": event} if event else {})
            for each in ids
        ]
        body = json.dumps({"batch": made}).encode()
        self.sandbox.collector.receive(body, key=key or self.sandbox.write_key)

    def later(self, by: timedelta) -> None:
        self.sandbox.clock.advance(by)

    def read(self, ago: timedelta = 5 * HOUR) -> SourceCounts:
        return read_source_counts(self.api, SOURCE, self.now - ago, self.now)


@pytest.fixture
def world() -> Iterator[World]:
    with Sandbox(seed=1) as sandbox:
        now = sandbox.clock.now()
        sandbox.clock.advance(beginning_of_hour(now) + HOUR + timedelta(minutes=10) - now)
        http = Http(sandbox.api_url, ServerClock())
        yield World(sandbox, PublicApi(sandbox.workspace.api_token, http))
        http.close()


def shown(counts: dict[SourceKey, int] | object, world: World) -> dict[tuple[int, str, str], int]:
    """Return counts by the hours before now, name or kind, and reason."""
    this = beginning_of_hour(world.now)
    assert isinstance(counts, dict)
    return {
        ((this - key.hour) // HOUR, key.event or key.kind, key.reason): number
        for key, number in counts.items()
    }


def test_each_outcome_is_counted_by_hour_kind_name_and_reason(world: World) -> None:
    world.arrive("a", "b")
    world.arrive("i", event=None)
    world.sandbox.source.disabled_events = {"Signed Up"}
    world.arrive("s", event="Signed Up")
    world.later(HOUR)
    world.arrive("c")
    world.sandbox.source.is_enabled = False
    world.arrive("d", "e")
    world.arrive("f", key="k" * 20)
    world.later(2 * HOUR)
    found = world.read()
    assert shown(found.received, world) == {
        (3, "Logged In", ""): 2,
        (3, "identify", ""): 1,
        (3, "Signed Up", ""): 1,
        (2, "Logged In", ""): 1,
    }
    assert shown(found.failed, world) == {(2, "Logged In", "source_disabled"): 2}
    assert shown(found.filtered, world) == {(3, "Signed Up", "event_setting"): 1}
    assert found.has_reasons
    assert found.since == beginning_of_hour(world.now) - 5 * HOUR


def test_a_repeat_counts_or_not_and_received_has_what_is_filtered_or_not(world: World) -> None:
    world.sandbox.source.disabled_events = {"Signed Up"}
    world.arrive("a")
    world.arrive("a")
    world.arrive("s", event="Signed Up")
    world.arrive("s", event="Signed Up")
    world.later(HOUR)
    assert shown(world.read().received, world) == {
        (1, "Logged In", ""): 2,
        (1, "Signed Up", ""): 2,
    }
    world.sandbox.counter.counts_repeats = False
    world.sandbox.counter.received_has_filtered = False
    found = world.read()
    assert shown(found.received, world) == {(1, "Logged In", ""): 1}
    assert shown(found.filtered, world) == {(1, "Signed Up", "event_setting"): 1}


def test_a_message_counts_half_a_minute_after_its_arrival(world: World) -> None:
    world.arrive("a")
    world.later(timedelta(seconds=90))
    assert shown(world.read().received, world) == {(0, "Logged In", ""): 1}
    world.sandbox.counter.lag = timedelta(minutes=5)
    assert world.read().received == {}


def test_a_month_is_read_in_windows_and_nothing_is_asked_that_segment_no_longer_tells(
    world: World,
) -> None:
    world.arrive("a")
    world.later(20 * 24 * HOUR)
    found = world.read(60 * 24 * HOUR)
    assert sum(found.received.values()) == 1
    assert timedelta() < found.since - (world.now - KEPT) <= HOUR
    asked = world.sandbox.faults.seen("public_api", "/delivery-overview")
    assert len(asked) == 9


def test_a_window_that_is_too_long_or_too_old_is_refused(world: World) -> None:
    for begin, end in ((15, 0), (31, 30)):
        times = [iso(world.now - days * 24 * HOUR) for days in (begin, end)]
        rows = world.api.delivery(SOURCE, "failed-on-ingest", *times, with_reasons=True)
        with pytest.raises(RequestRefusedError):
            list(rows)


def test_a_workspace_without_the_beta_tells_what_was_received(world: World) -> None:
    world.arrive("a")
    world.later(HOUR)
    world.sandbox.counter.has_delivery_overview = False
    found = world.read()
    assert shown(found.received, world) == {(1, "Logged In", ""): 1}
    assert not found.has_reasons


def test_a_token_without_the_role_and_a_source_that_is_unknown_are_refused(world: World) -> None:
    with pytest.raises(UnknownPathError):
        read_source_counts(world.api, "src_other", world.now - HOUR, world.now)
    world.sandbox.workspace.roles.clear()
    with pytest.raises(AccessDeniedError):
        world.read()


def test_suppressed_users_are_listed_to_a_token_with_the_role(world: World) -> None:
    world.sandbox.collector.suppressed_users |= {"u1", "u2"}
    with pytest.raises(AccessDeniedError):
        world.api.suppressed_users()
    world.sandbox.workspace.roles.add("End User Privacy Admin")
    assert world.api.suppressed_users() == {"u1", "u2"}


def test_a_time_without_a_zone_is_in_utc(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    point = {"time": "2026-11-20T11:00:00", "count": 5}
    row = {"eventName": "x", "eventType": "track", "series": [point]}
    body = json.dumps({"data": {"dataset": [row], "pagination": {}}}).encode()
    scripted.replies = [Reply(body=body)] * 3
    http = Http(scripted.origin, ServerClock())
    now = datetime.fromisoformat("2026-11-20T12:00:00Z")
    try:
        counts = read_source_counts(PublicApi("token", http), SOURCE, now - HOUR, now)
    finally:
        http.close()
        monkeypatch.undo()
        time.tzset()
    assert [key.hour for key in counts.received] == [now - HOUR]


@pytest.mark.parametrize(
    "series",
    [
        [{"count": "1"}],
        [{"time": "soon", "count": 1}],
        [{"time": "2026-11-20T10:00:00Z"}],
        [7],
        7,
    ],
)
def test_a_count_that_cannot_be_read_is_no_answer(scripted: Scripted, series: object) -> None:
    row = {"eventName": "x", "eventType": "track", "series": series}
    body = json.dumps({"data": {"dataset": [row], "pagination": {}}}).encode()
    scripted.replies = [Reply(body=body)]
    http = Http(scripted.origin, ServerClock())
    now = datetime.fromisoformat("2026-11-20T12:00:00Z")
    with pytest.raises(UnusableAnswerError):
        read_source_counts(PublicApi("token", http), SOURCE, now - HOUR, now)
    http.close()
