"""`tail`: the events of the running daemon in a terminal."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from poller.cli.commands import tail as command
from poller.cli.wiring import events
from poller.cli.wiring.events import events_in_memory, lines_of, open_stream, serve_events
from poller.config import Settings, load_settings
from poller.core.errors import TransientError
from poller.service.lifecycle.exit_codes import ExitCode
from poller.service.watching.feed import Feed
from tests.fakes import NOW
from tests.paths import TESTS
from tests.service.page.browsers import login, settled

SCHEMAS = json.loads((TESTS / "schemas/commands.json").read_text())
HOSTILE = json.loads((TESTS / "data/terminal-escapes.json").read_text())

Shown = Callable[..., tuple[str, str, ExitCode]]


@pytest.fixture
def feed() -> Feed:
    return Feed(now=lambda: NOW)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    environ = {"POLLER_STATE__URL": str(tmp_path / "ledger.db")}
    return load_settings(None, environ, secrets=False)


@pytest.fixture
def shown(settings: Settings, feed: Feed, capsys: pytest.CaptureFixture[str]) -> Shown:
    """Return a function that shows what a feed holds, until the daemon ends."""

    def show(
        is_wanted: Callable[[Any], bool] = lambda _: True, last: int = 9, *, as_json: bool = False
    ) -> tuple[str, str, ExitCode]:
        with serve_events(settings, feed):
            connection = open_stream(settings)
            assert connection is not None
            lines = lines_of(connection)
            assert next(lines)["kind"] == "hello"
        with connection:
            code = command._follow(command._chosen(lines, is_wanted, last), as_json=as_json)
        captured = capsys.readouterr()
        return captured.out, captured.err, code

    return show


def test_each_event_is_a_line_with_what_it_became_and_the_end_of_the_daemon_is_told(
    feed: Feed, shown: Shown
) -> None:
    feed.count_settled(settled(login("auth0|1"), {"type": "fp"}, login(user=None)))
    out, err, code = shown()
    forwarded, filtered, dead = out.splitlines()
    assert "auth0|1" in forwarded
    assert "identify, track Logged In" in forwarded
    assert "filtered: type" in filtered
    assert "dead letter: no_user_id" in dead
    assert (err, code) == ("the daemon has ended\n", ExitCode.UNAVAILABLE)


def test_the_json_of_an_event_keeps_to_its_schema(feed: Feed, shown: Shown) -> None:
    feed.count_settled(settled(login("auth0|1"), {"type": "fp"}, login(user=None)))
    lines = [json.loads(line) for line in shown(as_json=True)[0].splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3]
    for line in lines:
        jsonschema.validate(line, {**SCHEMAS, "$ref": "#/$defs/tail"})


def test_only_the_newest_wanted_events_of_memory_are_shown(feed: Feed, shown: Shown) -> None:
    feed.count_settled(settled(*[login(), {"type": "fp"}] * 5))
    out, _, _ = shown(lambda event: event["type"] == "s", 2, as_json=True)
    assert [json.loads(line)["number"] for line in out.splitlines()] == [7, 9]
    assert shown(last=0)[0] == ""


@pytest.mark.parametrize("text", HOSTILE if isinstance(HOSTILE, list) else [*HOSTILE.values()])
def test_hostile_text_reaches_the_terminal_as_text(feed: Feed, shown: Shown, text: Any) -> None:
    feed.count_settled(settled(login(f"auth0|{text}\x1b[2J\u202e")))
    for as_json in (False, True):
        out, _, _ = shown(as_json=as_json)
        assert len(out.splitlines()) == 1
        assert not set("\x1b\x07\u202e\r\x9b") & set(out)


def test_the_socket_lives_as_long_as_the_daemon_and_is_its_owners(
    settings: Settings, feed: Feed, tmp_path: Path
) -> None:
    place = tmp_path / "ledger.db.events"
    with serve_events(settings, feed):
        assert stat.S_IMODE(place.lstat().st_mode) == 0o600
        assert events_in_memory(settings) == []
    assert not place.exists()
    assert events_in_memory(settings) is None


def test_a_daemon_whose_socket_cannot_be_made_does_its_work(
    settings: Settings, feed: Feed, tmp_path: Path
) -> None:
    (tmp_path / "ledger.db.events").write_text("precious")
    with capture_logs() as lines, serve_events(settings, feed):
        pass
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("tail.unavailable", "warning")
    ]
    assert (tmp_path / "ledger.db.events").read_text() == "precious"


def test_another_user_gets_nothing(
    settings: Settings, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed.count_settled(settled(login()))
    monkeypatch.setattr(events, "peer_user", lambda _: os.geteuid() + 1)
    with serve_events(settings, feed):
        assert events_in_memory(settings) == []


def test_another_version_of_the_stream_is_explained(
    settings: Settings, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "VERSION", 99)
    with serve_events(settings, feed), pytest.raises(TransientError, match="another version"):
        events_in_memory(settings)


def invoke(*arguments: str, ledger: Path) -> Any:
    environ = {"POLLER_STATE__URL": str(ledger)}
    return CliRunner().invoke(command.tail, arguments, env=environ, standalone_mode=False)


def test_a_missing_daemon_is_explained_with_the_way_to_start_one(tmp_path: Path) -> None:
    ended = invoke(ledger=tmp_path / "ledger.db")
    assert ended.return_value == ExitCode.UNAVAILABLE
    assert "no daemon runs on the ledger" in ended.output
    assert "systemctl start" in ended.output


def test_a_mistyped_outcome_or_type_gets_a_suggestion(tmp_path: Path) -> None:
    wrong = CliRunner().invoke(command.tail, ("--outcome", "dead_leter"))
    assert wrong.exit_code == ExitCode.USAGE
    assert "did you mean dead-letter?" in wrong.output
    assert "give one of forwarded" in CliRunner().invoke(command.tail, ("--outcome", "x")).output
    assert "did you mean seacft?" in invoke("--type", "seafct", ledger=tmp_path / "l.db").output
    assert "published" not in invoke("--type", "s", ledger=tmp_path / "l.db").output
