"""A fault strikes at the place, at the time and as often as it is told to."""

import contextlib
import subprocess
import sys
from datetime import timedelta
from typing import Any

import httpx
import pytest

from poller.sandbox import Fault
from tests.sandbox.world import World, track

EARLIEST = "900" + "0" * 53


def strike(world: World, action: str, **more: Any) -> None:
    world.sandbox.faults.set(Fault(action=action, service="segment", **more))


def statuses(world: World, count: int) -> list[int]:
    return [world.batch(track(f"m{number}")).status_code for number in range(count)]


def test_a_fault_skips_and_counts(world: World) -> None:
    strike(world, "status", status=503, skip=1, times=2)
    assert statuses(world, 4) == [200, 503, 503, 200]
    assert len(world.sandbox.collector.arrivals) == 2


def test_a_fault_may_stay_until_it_is_cleared(world: World) -> None:
    strike(world, "status", status=429, times=None, headers={"Retry-After": "7"}, body="slow down")
    assert statuses(world, 3) == [429] * 3
    assert world.batch(track()).headers["Retry-After"] == "7"
    world.sandbox.faults.clear()
    assert statuses(world, 1) == [200]


def test_a_fault_may_keep_to_a_schedule(world: World) -> None:
    strike(world, "status", times=None, begins=60, ends=120)
    seen = []
    for _ in range(3):
        seen += statuses(world, 1)
        world.sandbox.clock.advance(timedelta(seconds=61))
    assert seen == [200, 503, 200]


@pytest.mark.parametrize(("action", "stored"), [("reset", 0), ("drop_answer", 1), ("truncate", 1)])
def test_a_broken_connection_is_broken(world: World, action: str, stored: int) -> None:
    strike(world, action)
    with pytest.raises(httpx.TransportError):
        world.batch(track())
    assert len(world.sandbox.collector.arrivals) == stored


def test_a_hang_outlasts_the_clients_patience(world: World) -> None:
    strike(world, "hang", seconds=30)
    world.segment.timeout = 0.2
    with pytest.raises(httpx.ReadTimeout):
        world.batch(track())


def test_a_drip_comes_byte_by_byte(world: World) -> None:
    strike(world, "drip", seconds=0.001)
    assert world.batch(track()).json() == {"success": True}


def test_an_answer_may_be_cut_or_another(world: World) -> None:
    strike(world, "cut_body")
    strike(world, "body", skip=1, body="<html>")
    assert world.batch(track()).text == '{\n  "succe'
    assert world.batch(track("m2")).text == "<html>"
    assert world.fates() == ["published", "published"]


def test_logs_may_repeat_a_page_or_be_garbage(world: World) -> None:
    world.sandbox.traffic.happen("login")
    first = world.logs(**{"from": EARLIEST}).json()
    world.sandbox.faults.set(Fault(action="same_page"), Fault(action="garbage_records", skip=1))
    assert world.logs(**{"from": first[-1]["log_id"]}).json() == first
    assert not any(
        isinstance(record, dict) and "log_id" in record
        for record in world.logs(**{"from": EARLIEST}).json()
    )


@pytest.mark.process
@pytest.mark.parametrize(("action", "stored"), [("kill_before", 0), ("kill_after", 1)])
def test_a_process_is_killed_at_a_request(world: World, action: str, stored: int) -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    strike(world, action, pid=victim.pid)
    with contextlib.suppress(httpx.TransportError):
        world.batch(track())
    assert victim.wait(60) == -9
    assert len(world.sandbox.collector.arrivals) == stored


def test_every_request_is_on_record(world: World) -> None:
    strike(world, "reset")
    with contextlib.suppress(httpx.TransportError):
        world.batch()
    world.logs(**{"from": EARLIEST})
    asked, broken, logs = world.sandbox.faults.seen()
    assert (asked.path, asked.status) == ("/oauth/token", 200)
    assert (broken.service, broken.path, broken.fault) == ("segment", "/v1/batch", "reset")
    assert (logs.query["from"], logs.status, logs.fault) == (EARLIEST, 200, None)


def test_an_unknown_action_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such action: hnag"):
        Fault(action="hnag")
