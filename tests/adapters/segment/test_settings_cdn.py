"""The published settings prove a write key, and the write key never leaves the request."""

import json
import logging
import socket
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from poller.adapters.clocks import ServerClock
from poller.adapters.http import Http
from poller.adapters.segment.settings_cdn import PublishedSettings, SettingsCdn
from poller.core.errors import TransientError, UnusableAnswerError
from poller.service.observability.logging_setup import configure_logging
from tests.adapters.segment.publications import NOTHING
from tests.scripted import Reply, Scripted, Serve

KEY = "secretWriteKey/?" + "0" * 16
JSON = {"Content-Type": "application/json"}


def published(*, key: object = KEY, host: object = "api.segment.io/v1", **changes: Any) -> bytes:
    own = {"apiKey": key, "apiHost": host}
    settings = {
        "integrations": {"Segment.io": own},
        "plan": {"track": {"__default": {"enabled": True}}},
        **changes,
    }
    return json.dumps(settings).encode()


@pytest.fixture
def make() -> Iterator[Callable[[str], SettingsCdn]]:
    clients: list[Http] = []

    def make(origin: str) -> SettingsCdn:
        clients.append(Http(origin, ServerClock(), deadline_s=60.0))
        return SettingsCdn(KEY, clients[-1])

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def cdn(make: Callable[[str], SettingsCdn], scripted: Scripted) -> SettingsCdn:
    return make(scripted.origin)


def test_settings_with_the_key_prove_it_and_name_the_host_of_its_region(
    cdn: SettingsCdn, scripted: Scripted
) -> None:
    scripted.replies = [Reply(body=published(), headers=JSON)]
    assert cdn.read() == NOTHING
    assert scripted.asked[0].path == f"/v1/projects/secretWriteKey%2F%3F{'0' * 16}/settings"
    assert "Authorization" not in scripted.asked[0].headers


def test_a_404_proves_nothing(cdn: SettingsCdn, scripted: Scripted) -> None:
    text = b"Cannot GET - Invalid path or write key provided."
    scripted.replies = [Reply(status=404, body=text, headers={"Content-Type": "text/plain"})]
    assert cdn.read() is None


def test_the_plan_switches_off_calls_by_name_and_by_default(
    cdn: SettingsCdn, scripted: Scripted
) -> None:
    off, on = {"enabled": False}, {"enabled": True}
    plan = {
        "track": {"__default": off, "Logged In": on, "Signed Up": off},
        "identify": {"__default": off},
        "group": {"__default": off},
    }
    scripted.replies = [Reply(body=published(plan=plan), headers=JSON)]
    settings = cdn.read()
    assert settings is not None
    names = ("Logged In", "Signed Up", "Signed In")
    assert [settings.blocks_track(name) for name in names] == [False, True, True]
    assert settings.blocks_identify
    assert settings.blocks_group


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (published(host=7, plan=[]), replace(NOTHING, host="", enabled_events=frozenset())),
        (published(plan={"track": {"__default": None}}), NOTHING),
        (published(host="https://EVENTS.eu1.segmentapis.com/v1"), None),
    ],
    ids=["odd types", "no rule", "a whole URL"],
)
def test_settings_of_an_odd_shape_switch_nothing_off(
    cdn: SettingsCdn, scripted: Scripted, body: bytes, expected: PublishedSettings | None
) -> None:
    scripted.replies = [Reply(body=body, headers=JSON)]
    assert cdn.read() == (expected or replace(NOTHING, host="events.eu1.segmentapis.com"))


PAGE = {"Content-Type": "text/html"}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"<html>", headers=PAGE),
        Reply(body=b"{}", headers=JSON),
        Reply(body=published(key="another"), headers=JSON),
        Reply(body=published(key="\ud800"), headers=JSON),
        Reply(body=b'{"integrations": {"Segment.io": []}}', headers=JSON),
        Reply(status=404, body=b"<html>", headers=PAGE),
        Reply(status=302, body=b"", headers={"Location": "https://elsewhere.invalid/" + KEY}),
        Reply(status=403, body=KEY.encode(), headers={"Content-Type": "text/plain"}),
        Reply(status=429, headers={"Retry-After": "7"}),
        Reply(status=503),
    ],
    ids=lambda reply: f"{reply.status} {reply.body[:20]!r}",
)
def test_nothing_else_proves_or_refutes_the_key(
    cdn: SettingsCdn, scripted: Scripted, reply: Reply
) -> None:
    scripted.replies = [reply]
    with pytest.raises(TransientError) as raised:
        cdn.read()
    assert isinstance(raised.value, UnusableAnswerError) == (reply.status == 200)
    assert_untold(raised.value)


def assert_untold(error: BaseException) -> None:
    told = "".join(traceback.format_exception(error)) + repr(error)
    assert "secretWriteKey" not in told


def refuse(connection: socket.socket) -> None:
    request = connection.recv(65536)
    connection.sendall(b"HTTP/1.1 407 No " + request.split(b"\r\n")[0] + b"\r\n\r\n" + request)


def close(connection: socket.socket) -> None:
    connection.recv(65536)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("handle", [refuse, close])
def test_a_broken_server_or_a_tls_failure_tells_no_key(
    make: Callable[[str], SettingsCdn],
    serve: Serve,
    scheme: str,
    handle: Callable[[socket.socket], None],
) -> None:
    with pytest.raises(TransientError) as raised:
        make(serve(handle).replace("http", scheme)).read()
    assert_untold(raised.value)


@pytest.mark.parametrize("origin", ["http://cdn.invalid", "https://cdn.invalid"])
@pytest.mark.parametrize("handle", [refuse, close])
def test_a_broken_proxy_tells_no_key(
    make: Callable[[str], SettingsCdn],
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    origin: str,
    handle: Callable[[socket.socket], None],
) -> None:
    monkeypatch.setenv("http_proxy", serve(handle))
    monkeypatch.setenv("https_proxy", serve(handle))
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(TransientError) as raised:
        make(origin).read()
    assert_untold(raised.value)
    assert "secretWriteKey" not in caplog.text


def test_no_library_logs_the_key_once_the_program_logs(
    cdn: SettingsCdn, scripted: Scripted, capfd: pytest.CaptureFixture[str]
) -> None:
    before = logging.root.handlers[:], logging.root.level
    scripted.replies = [Reply(body=published(), headers=JSON)]
    try:
        configure_logging("debug")
        cdn.read()
    finally:
        logging.root.handlers[:], logging.root.level = before
        logging.captureWarnings(capture=False)
    assert "secretWriteKey" not in "".join(capfd.readouterr())
