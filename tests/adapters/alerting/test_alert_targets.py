"""The targets of alerts, against servers on loopback."""

import json
import socket
import threading
from collections.abc import Iterator
from email import message_from_bytes
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from poller.adapters.alerting import targets as module
from poller.adapters.alerting.targets import (
    AppriseTarget,
    MissingAppriseError,
    UnknownUrlError,
    WebhookTarget,
    open_targets,
)
from poller.core.errors import TransientError
from tests.scripted import Reply, Scripted, Serve, read_request, silent_port

TOKEN = "a-very-secret-token"


class Mailbox:
    """The mails that a mail server was given."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_DATA(  # noqa: N802 - as aiosmtpd calls it
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        self.mails.append(envelope.content)
        return "250 taken"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    with silent_port() as port:
        controller = Controller(box, hostname="127.0.0.1", port=port, ready_timeout=60.0)
        controller.start()
        yield box, port
        controller.stop()


def send(*urls: str) -> None:
    for target in open_targets(urls):
        target.send("The title", "The first line.\nThe second line.", "critical")


def test_a_mail_server_gets_the_title_and_the_text(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    send(f"mailto://127.0.0.1:{port}?from=poller@example.com&to=me@example.com&format=text")
    (mail,) = map(message_from_bytes, box.mails)
    assert mail["To"] == "me@example.com"
    assert "The title" in mail["Subject"]
    assert "The second line." in str(mail)


def test_a_service_of_apprise_gets_the_alert(scripted: Scripted) -> None:
    send(f"{scripted.origin.replace('http', 'json')}/{TOKEN}")
    (asked,) = scripted.asked
    body = json.loads(asked.body)
    assert (body["title"], body["type"]) == ("The title", "failure")
    assert body["message"] == "The first line.\nThe second line."


def test_a_webhook_gets_the_alert_with_its_path_and_query(scripted: Scripted) -> None:
    send(f"{scripted.origin}/hooks/{TOKEN}?key={TOKEN}")
    (asked,) = scripted.asked
    assert (asked.path, asked.query) == (f"/hooks/{TOKEN}", {"key": TOKEN})
    assert json.loads(asked.body) == {
        "title": "The title",
        "message": "The first line.\nThe second line.",
        "severity": "critical",
    }


@pytest.mark.parametrize("scheme", ["http", "json"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_refused(scripted: Scripted, serve: Serve, scheme: str, status: int) -> None:
    elsewhere: list[bytes] = []
    other = serve(lambda connection: elsewhere.append(read_request(connection)))
    scripted.replies = [Reply(status=status, headers={"Location": f"{other}/{TOKEN}"})]
    with pytest.raises(TransientError):
        send(f"{scripted.origin.replace('http', scheme)}/{TOKEN}?redirect=yes")
    assert elsewhere == []


@pytest.mark.parametrize("scheme", ["http", "json"])
@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_a_refusal_is_a_failure_that_shows_no_secret(
    scripted: Scripted, scheme: str, status: int
) -> None:
    scripted.replies = [Reply(status=status, body=TOKEN.encode())]
    with pytest.raises(TransientError) as raised:
        send(f"{scripted.origin.replace('http', scheme)}/{TOKEN}")
    assert TOKEN not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("scheme", ["http", "json"])
def test_a_server_that_refuses_the_connection_is_a_failure(scheme: str) -> None:
    with silent_port() as port, pytest.raises(TransientError) as raised:
        send(f"{scheme}://127.0.0.1:{port}/{TOKEN}")
    assert TOKEN not in str(raised.value)


PATIENT = "cto=600&rto=600"
"""Options of Apprise by which its own limits for a connection and a read never come first."""


def drip(connection: socket.socket, over: threading.Event) -> None:
    """Answer one byte at a time, so that no single read takes long."""
    read_request(connection)
    while not over.wait(0.05):
        connection.sendall(b"H")


@pytest.mark.parametrize("scheme", ["http", "json"])
def test_a_send_ends_at_its_deadline_whatever_the_server_does(serve: Serve, scheme: str) -> None:
    over = threading.Event()
    origin = serve(lambda connection: drip(connection, over))
    url = f"{origin.replace('http', scheme)}/{TOKEN}"
    target: AppriseTarget | WebhookTarget
    if scheme == "json":
        plugin = module._plugin(f"{url}?{PATIENT}")
        target = AppriseTarget("1", "key", plugin, deadline_s=0.3)
    else:
        target = WebhookTarget("1", "key", url, deadline_s=0.3)
    try:
        with pytest.raises(TransientError, match="no answer in time"):
            target.send("The title", "The text", "warning")
    finally:
        over.set()


def test_no_second_attempt_begins_while_the_first_one_hangs(serve: Serve) -> None:
    over, asked, calls = threading.Event(), threading.Event(), []

    def hang(connection: socket.socket) -> None:
        calls.append(read_request(connection))
        asked.set()
        over.wait(60)

    url = f"{serve(hang).replace('http', 'json')}/{TOKEN}?{PATIENT}"
    target = AppriseTarget("1", "key", module._plugin(url), deadline_s=0.3)
    for reason in ("no answer in time", "still waits"):
        with pytest.raises(TransientError, match=reason):
            target.send("The title", "The text", "warning")
    assert asked.wait(60)
    over.set()
    assert len(calls) == 1


def test_an_unknown_url_is_named_by_its_place_only() -> None:
    with pytest.raises(UnknownUrlError) as raised:
        open_targets([f"json://127.0.0.1/{TOKEN}", f"nonsense://{TOKEN}"])
    assert raised.value.number == 2
    assert TOKEN not in str(raised.value)


def test_a_missing_apprise_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(MissingAppriseError):
        open_targets(["json://127.0.0.1/x"])


def test_names_and_keys_hold_no_part_of_the_url() -> None:
    target, hook = open_targets([f"json://127.0.0.1/{TOKEN}", f"https://127.0.0.1/{TOKEN}"])
    assert (target.name, hook.name) == ("1 (JSON)", "2 (webhook)")
    assert TOKEN not in target.key + hook.key
    assert target.key != hook.key


def test_the_libraries_write_no_line_that_holds_a_url(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.replies = [Reply(status=500)]
    caplog.set_level(0)
    with pytest.raises(TransientError):
        send(f"{scripted.origin.replace('http', 'json')}/{TOKEN}")
    assert TOKEN not in caplog.text
