"""The pings to a dead man's switch, against a server on loopback."""

import pytest

from poller.adapters.alerting.heartbeat import HeartbeatUrl
from poller.core.errors import TransientError
from tests.scripted import Reply, Scripted

UUID = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.mark.parametrize(
    "path", [f"/{UUID}", f"/ping/{UUID}", "/0123456789012345678901/acme", f"/a/ping/{UUID}/"]
)
def test_the_forms_of_healthchecks_follow_its_path(scripted: Scripted, path: str) -> None:
    heartbeat = HeartbeatUrl(f"{scripted.origin}{path}?create=1")
    heartbeat.ping("start", "begun", run_id="7")
    heartbeat.ping("success", run_id="7")
    heartbeat.ping("fail", "blocked")
    heartbeat.ping("log", "told to stop")
    bare = path.rstrip("/")
    assert [asked.path for asked in scripted.asked] == [
        f"{bare}/start", path, f"{bare}/fail", f"{bare}/log",
    ]  # fmt: skip
    assert [asked.query for asked in scripted.asked] == [
        {"create": "1", "rid": "7"}, {"create": "1", "rid": "7"}, {"create": "1"}, {"create": "1"},
    ]  # fmt: skip
    assert [asked.body for asked in scripted.asked] == [b"begun", b"", b"blocked", b"told to stop"]


def test_another_service_gets_nothing_but_success(scripted: Scripted) -> None:
    heartbeat = HeartbeatUrl(f"{scripted.origin}/api/push/token?status=up")
    for kind in ("start", "fail", "log"):
        heartbeat.ping(kind, "text")  # type: ignore[arg-type] # of a tuple
    heartbeat.ping("success", run_id="7")
    (asked,) = scripted.asked
    assert (asked.method, asked.path, asked.query) == ("GET", "/api/push/token", {"status": "up"})


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=404),
        Reply(status=302, headers={"Location": "/"}),
        Reply(body=b"OK (not found)"),
    ],
)
def test_a_ping_that_does_not_count_is_a_failure(scripted: Scripted, reply: Reply) -> None:
    scripted.replies = [reply]
    with pytest.raises(TransientError) as raised:
        HeartbeatUrl(f"{scripted.origin}/{UUID}").ping("success")
    assert UUID not in str(raised.value)
    assert len(scripted.asked) == 1
