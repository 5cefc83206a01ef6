"""Segment drops messages over sandbox time, and the hourly look of the daemon tells of it."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from poller.adapters.segment.public_api import RequestRefusedError
from poller.adapters.sql_ledger.key_changes import redeliver
from poller.cli.segment_proof.hourly_look import compare_last_day, look_hourly
from poller.cli.wiring.backfill import BackfillParts
from poller.cli.wiring.daemon import build_drain, open_ledger
from poller.cli.wiring.services import connect, stream_of
from poller.core.log_ids import floor_id
from poller.sandbox import Sandbox
from poller.service.lifecycle.one_shot import drain
from poller.service.lifecycle.process import Process
from poller.service.observability.instrumented import NO_OBSERVER, SegmentCounts, is_alarming
from poller.service.upstream.retry import PATIENCE
from tests.cli.segment_proof.world import World

LOGINS_AN_HOUR = 230
WRONG = "wrongWriteKey0123456789abcdef"


class Day:
    """A daemon's day in sandbox time. Each hour has logins, one drain, and a look 12 min later."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.changes: dict[str, Any] = {
            "segment__source_name": "web",
            "segment__source_id": "src_sandbox",
            "segment__api_token": world.sandbox.workspace.api_token,
            "segment__api_endpoint": world.sandbox.api_url,
            "poll__start": "earliest",
        }
        now = world.sandbox.clock.now()
        begin = now.replace(minute=12, second=0, microsecond=0) + timedelta(hours=1)
        world.sandbox.clock.advance(begin - now)

    def hour(self) -> SegmentCounts:
        """Let an hour pass, from one look to the next."""
        sandbox, settings = self.world.sandbox, self.world.settings(**self.changes)
        sandbox.clock.advance(timedelta(minutes=40))
        now = sandbox.clock.now()
        sandbox.traffic.grow(
            LOGINS_AN_HOUR,
            start=now - timedelta(minutes=30),
            end=now - timedelta(minutes=1),
            kinds=["login"],
        )
        process = Process()
        with (
            open_ledger(settings, process) as ledger,
            connect(settings, process.stopping) as services,
        ):
            drain(build_drain(settings, services, ledger, process).pages, PATIENCE)
            sandbox.clock.advance(timedelta(minutes=20))
            services.log.oldest_kept()  # the clock of the services moved meanwhile
            counts = compare_last_day(settings, sandbox.clock.now())
        assert counts is not None
        return counts


@pytest.fixture
def day(world: World) -> Day:
    return Day(world)


def disable(sandbox: Sandbox, day: Day) -> None:
    del day
    sandbox.source.is_enabled = False


def block_one_event(sandbox: Sandbox, day: Day) -> None:
    del day
    sandbox.source.disabled_events = {"Logged In"}


def break_a_rule(sandbox: Sandbox, day: Day) -> None:
    del day
    schema = {
        "type": "object",
        "properties": {"properties": {"type": "object", "required": ["nowhere"]}},
    }
    sandbox.source.plan.rules = [{"type": "TRACK", "key": "Logged In", "jsonSchema": schema}]
    sandbox.source.plan.controls["track"]["commonEventOnViolations"] = "BLOCK"
    sandbox.source.plan.controls["track"]["allowEventOnViolations"] = False


def take_a_wrong_key(sandbox: Sandbox, day: Day) -> None:
    del sandbox
    day.changes["segment__write_key"] = WRONG


@pytest.mark.parametrize("drop", [disable, block_one_event, break_a_rule, take_a_wrong_key])
def test_the_alert_fires_within_two_hours_of_each_kind_of_drop_and_not_before(
    day: Day, drop: Callable[[Sandbox, Day], None]
) -> None:
    before = day.hour()
    assert (before.missing, is_alarming(before)) == (0, False)
    assert before.received >= before.acknowledged > LOGINS_AN_HOUR
    drop(day.world.sandbox, day)
    after = day.hour()  # its look comes 72 minutes after the drop began
    assert after.missing >= LOGINS_AN_HOUR
    assert is_alarming(after)


def test_a_drop_is_shown_with_segments_reason(day: Day) -> None:
    day.world.sandbox.source.disabled_events = {"Logged In"}
    counts = day.hour()
    assert counts.filtered == {"event_setting": counts.missing}
    day.world.sandbox.source.is_enabled = False
    counts = day.hour()
    assert set(counts.failed) == {"source_disabled"}


def test_the_alert_ends_when_the_ledger_is_told_and_all_of_it_arrives_again(day: Day) -> None:
    day.hour()
    right, since = dict(day.changes), floor_id(day.world.sandbox.clock.now())
    take_a_wrong_key(day.world.sandbox, day)
    assert is_alarming(day.hour())
    day.changes = right
    settings = day.world.settings(**right)
    stream, process = stream_of(settings), Process()
    redeliver(settings.state.url, stream, stream, since, generation="key-2")
    told = compare_last_day(settings, day.world.sandbox.clock.now())
    assert told is not None
    assert (told.missing, is_alarming(told)) == (0, False)
    with open_ledger(settings, process) as ledger, connect(settings, process.stopping) as services:
        parts = BackfillParts(settings=settings, services=services, ledger=ledger)
        begun = (ledger.begin_work(each) for each in ledger.revisits())
        pages = [page for each in begun if each for page in parts.walker()(each)]
        sent = sum(len(page.settlement.forwarded) for page in pages)
    counts = day.hour()
    assert counts.missing == 0
    assert sent >= LOGINS_AN_HOUR
    assert counts.received >= counts.acknowledged >= told.acknowledged + sent


def test_a_write_key_that_no_source_has_receives_nothing(day: Day) -> None:
    take_a_wrong_key(day.world.sandbox, day)
    del day.changes["segment__source_id"]
    day.world.sandbox.workspace.roles.add("Source Admin")
    counts = day.hour()
    assert counts.missing == counts.acknowledged > 0


def test_a_token_that_may_not_see_keys_needs_the_id_of_the_source(day: Day) -> None:
    day.hour()
    del day.changes["segment__source_id"]
    with pytest.raises(RequestRefusedError) as caught:
        day.hour()
    assert "segment.source_id" in caught.value.hint


def test_no_thread_begins_without_a_token(world: World) -> None:
    settings = world.settings()
    before = threading.active_count()
    with connect(settings, threading.Event()) as services:
        look_hourly(settings, services.clock.now, NO_OBSERVER)
    assert threading.active_count() == before
