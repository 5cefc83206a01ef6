"""`trace`: one event or the events of a user, where they stand, and the calls of now."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from poller.cli.commands import trace as command
from poller.cli.commands.run import _drain_once
from poller.config import Settings, load_settings
from poller.core.text.dates import iso
from poller.sandbox import Sandbox
from poller.service.lifecycle.exit_codes import ExitCode
from tests.paths import TESTS

SCHEMAS = json.loads((TESTS / "schemas/commands.json").read_text())
HOSTILE = "auth0|x\x1b[2J\u202e\r\nfake"


@dataclass
class Tracing:
    """A sandbox, a ledger, and the command between them."""

    sandbox: Sandbox
    settings: Settings

    def append(self, **record: Any) -> str:
        """Append a record to the log, wait until the search shows it, and return its id."""
        (entry,) = self.sandbox.tenant.append([{"type": "s", **record}])
        self.sandbox.clock.advance(timedelta(minutes=1))
        return entry.log_id

    def drain(self) -> None:
        assert _drain_once(self.settings, new_stream=False) == ExitCode.DONE

    def text(self, *arguments: str, code: ExitCode = ExitCode.DONE) -> str:
        ended = CliRunner().invoke(command.trace, arguments, standalone_mode=False)
        assert ended.exception is None, ended.output
        assert ended.return_value == code
        return ended.output

    def json(self, *arguments: str, code: ExitCode = ExitCode.DONE) -> list[dict[str, Any]]:
        report = json.loads(self.text(*arguments, "--json", code=code))
        jsonschema.validate(report, {**SCHEMAS, "$ref": "#/$defs/trace"})
        events: list[dict[str, Any]] = report["events"]
        return events


@pytest.fixture
def tracing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracing]:
    with Sandbox(seed=1, plan="unlimited") as sandbox:
        facts = sandbox.facts()
        values = {
            "AUTH0__DOMAIN": facts["domain"],
            "AUTH0__CLIENT_ID": facts["client_id"],
            "AUTH0__CLIENT_SECRET": facts["client_secret"],
            "AUTH0__BASE_URL": facts["auth0_url"],
            "SEGMENT__WRITE_KEY": facts["write_key"],
            "SEGMENT__ENDPOINT": facts["segment_url"],
            "STATE__URL": str(tmp_path / "ledger.db"),
            "POLL__START": "earliest",
            "LOG__LEVEL": "error",
        }
        environ = {f"POLLER_{name}": value for name, value in values.items()}
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("COLUMNS", "160")
        # The log belongs to the whole process, and other tests read it.
        monkeypatch.setattr(command, "configure_logging", lambda level, form: None)
        monkeypatch.chdir(tmp_path)
        yield Tracing(sandbox, load_settings(None, environ))


def place(tracing: Tracing, log_id: str) -> str:
    (event,) = tracing.json(log_id)
    found: str = event["standing"]["place"]
    return found


def test_a_settled_event_is_shown_with_the_calls_that_reached_segment(tracing: Tracing) -> None:
    log_id = tracing.append(user_id="auth0|ada")
    tracing.drain()
    (event,) = tracing.json(log_id)
    assert event["standing"]["place"] == "settled"
    assert event["standing"]["hour"] == {"forwarded": 1}
    sent = [each.message["messageId"] for each in tracing.sandbox.collector.arrivals]
    assert [call["messageId"] for call in event["calls"]] == sent
    assert "Segment acknowledged the only event of type s" in event["standing"]["text"]


def test_an_event_is_ahead_until_it_is_read(tracing: Tracing) -> None:
    tracing.append(user_id="auth0|ada")
    tracing.drain()
    log_id = tracing.append(user_id="auth0|bob")
    assert place(tracing, log_id) == "ahead"
    tracing.drain()
    assert place(tracing, log_id) == "settled"


def test_a_dead_letter_is_shown_even_after_auth0_has_removed_it(tracing: Tracing) -> None:
    log_id = tracing.append(user_id="auth0|ada", date="soon")
    tracing.drain()
    (event,) = tracing.json(log_id)
    assert event["standing"]["place"] == "dead_letter"
    assert event["standing"]["dead_letter"]["reason"] == "unparseable_date"
    assert event["dead_letter"] == "unparseable_date"
    tracing.sandbox.clock.advance(timedelta(days=40))
    tracing.sandbox.tenant.retention = timedelta(days=1)
    (again,) = tracing.json(log_id)
    assert again["event"] == event["event"]
    assert f"dead-letters replay {log_id}" in again["standing"]["hint"]


def test_an_unknown_id_keeps_its_place_in_the_ledger(tracing: Tracing) -> None:
    tracing.append(user_id="auth0|ada")
    tracing.drain()
    unknown = "90020200131080000000000000000000000000000000000000000001"
    (event,) = tracing.json(unknown, code=ExitCode.ATTENTION)
    assert (event["event"], event["standing"]["place"]) == (None, "no_span")
    said = " ".join(tracing.text(unknown, code=ExitCode.ATTENTION).split())
    assert "retention removed" in said
    assert "another tenant's" in said


def test_a_user_is_found_with_events_that_are_not_sent_and_a_time_with_those_that_are(
    tracing: Tracing,
) -> None:
    early = iso(tracing.sandbox.clock.now())
    tracing.append(user_id="auth0|ada")
    tracing.sandbox.clock.advance(timedelta(hours=5))
    now = iso(tracing.sandbox.clock.now())
    tracing.append(user_id="auth0|ada", type="fp")
    tracing.append(user_id="auth0|bob")
    tracing.drain()
    assert [each["type"] for each in tracing.json("--user", "auth0|ada")] == ["fp", "s"]
    assert [each["filtered"] for each in tracing.json("--user", "auth0|ada")] == ["type", None]
    (one,) = tracing.json("--user", "auth0|ada", "--at", early)
    assert one["type"] == "s"
    (other,) = tracing.json("--at", now)
    assert other["event"]["user_id"] == "auth0|bob"
    said = tracing.text("--user", "ada@example.com", code=ExitCode.ATTENTION)
    assert "and no e-mail" in said
    assert "The oldest event that it keeps" in said


def test_a_trace_sends_nothing_and_stores_nothing(tracing: Tracing, tmp_path: Path) -> None:
    log_id = tracing.append(user_id="auth0|ada")
    tracing.drain()
    sent = len(tracing.sandbox.collector.arrivals)
    ledger = (tmp_path / "ledger.db").read_bytes()
    tracing.text(log_id)
    tracing.text("--user", "auth0|ada")
    assert len(tracing.sandbox.collector.arrivals) == sent
    assert (tmp_path / "ledger.db").read_bytes() == ledger


def test_hostile_values_reach_the_terminal_as_text(tracing: Tracing) -> None:
    log_id = tracing.append(user_id=HOSTILE, user_name="\x1b]0;owned\x07", client_name="\u2066a")
    tracing.drain()
    for said in (
        tracing.text(log_id),
        tracing.text("--user", HOSTILE),
        tracing.text("\x1b[2Jx", code=ExitCode.ATTENTION),
    ):
        assert not set("\x1b\x07\u202e\u2066\r") & set(said)
    assert "\\u001b" in tracing.text(log_id)


@pytest.mark.parametrize("arguments", [(), ("9001", "--user", "a"), ("9001", "--at", "1h")])
def test_a_trace_needs_either_an_id_or_a_search(arguments: tuple[str, ...]) -> None:
    ended = CliRunner().invoke(command.trace, arguments)
    assert ended.exit_code == ExitCode.USAGE
    assert "give a log id, or --user and --at" in ended.output


@pytest.mark.parametrize("wrong", ["noon", "2026-01-31T12:00:00", "99999999d", ""])
def test_a_time_that_cannot_be_read_is_explained(wrong: str) -> None:
    ended = CliRunner().invoke(command.trace, ("--at", wrong))
    assert ended.exit_code == ExitCode.USAGE
    assert "--at" in ended.output
