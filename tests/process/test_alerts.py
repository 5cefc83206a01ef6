"""The alerts of a real daemon, which is killed once and stopped once."""

import json
import signal

import pytest

from tests.process.bench import Bench, eventually
from tests.scripted import Reply, Scripted

UUID = "01234567-89ab-cdef-0123-456789abcdef"
LOOK_S = "poller.service.alerts.sender.LOOK_S"
TOKEN = "a-very-secret-token"


@pytest.fixture
def environ(scripted: Scripted) -> dict[str, str]:
    scripted.replies = [Reply(body=b"OK")]
    return {
        "POLLER_ALERTS__URLS": f"{scripted.origin}/{TOKEN}",
        "POLLER_ALERTS__HEARTBEAT_URL": f"{scripted.origin}/{UUID}",
    }


def titles(scripted: Scripted) -> list[str]:
    return [json.loads(each.body)["title"] for each in scripted.asked if TOKEN in each.path]


def pings(scripted: Scripted) -> list[str]:
    asked = (each.path.removeprefix(f"/{UUID}") for each in scripted.asked if UUID in each.path)
    return [path or "success" for path in asked]


def test_a_killed_daemon_tells_of_its_new_start_and_a_stopped_one_tells_the_switch(
    plain: Bench, scripted: Scripted, environ: dict[str, str]
) -> None:
    plain.constants[LOOK_S] = 0.2
    with plain.start("run", environ=environ) as killed:
        eventually("a ping of success", lambda: "success" in pings(scripted))
        killed.signal(signal.SIGKILL)
        killed.wait()
    assert titles(scripted) == []
    with plain.start("run", environ=environ) as stopped:
        eventually("an alert", lambda: titles(scripted))
        ended = stopped.stop()
    assert ended.code == 0
    (title,) = titles(scripted)
    assert title.startswith("The daemon was started again after it ended without a word")
    assert pings(scripted)[0] == "/start"
    assert pings(scripted)[-1] == "/log"
    for log in (killed.err, ended.err):
        assert TOKEN not in log
        assert UUID not in log
