"""`preview PATH`: what the records of files become, and the comparison for CI."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from poller.cli.commands.preview import preview
from poller.cli.commands.preview_files import (
    compare,
    expectation_of,
    outcomes_of_files,
    write_expectation,
)
from poller.config import Settings, load_settings, read_toml
from tests.samples import login

_SETTINGS = """
[events.names]
login = "User Signed In"
[events.traits]
plan = "user.app_metadata.plan"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "config.toml"
    path.write_text(_SETTINGS)
    return load_settings(read_toml(path), {"HOME": "/home/ada"}, secrets=False)


def written(path: Path, *records: Any) -> Path:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def expectation(settings: Settings, *paths: Path, **options: Any) -> list[dict[str, Any]]:
    given: dict[str, Any] = {"record": None, "users": None} | options
    return expectation_of(outcomes_of_files(settings, paths, **given))


def test_each_record_becomes_what_the_settings_say_without_any_secret(
    settings: Settings, tmp_path: Path
) -> None:
    file = written(
        tmp_path / "log",
        login(),
        login(log_id="9002", type="f"),
        login(log_id="9003", user_id=None),
    )
    sent, filtered, dead = expectation(settings, file)
    assert [call.get("event") for call in sent["calls"]] == [None, "User Signed In"]
    assert "library" not in sent["calls"][0]["context"]
    assert filtered == {"log_id": "9002", "filtered": "type"}
    assert dead == {"log_id": "9003", "dead_letter": "no_user_id"}


def test_a_preview_shows_a_record_with_lists_and_tables_in_place_of_texts(tmp_path: Path) -> None:
    odd = login(user_name=["ada"], client_name={"a": 1}, ip=[])
    file = written(tmp_path / "log", odd)
    ended = CliRunner().invoke(preview, [str(file)], catch_exceptions=False)
    assert (ended.exit_code, "1 event" in ended.output) == (0, True)


def test_an_expectation_is_not_overwritten_by_the_comparison_with_it(tmp_path: Path) -> None:
    file, kept = written(tmp_path / "log", login()), tmp_path / "calls.json"
    kept.write_text("[]")
    both = ["--expect", str(kept), "--write-expect", str(kept)]
    ended = CliRunner().invoke(preview, [str(file), *both])
    assert (ended.exit_code, kept.read_text()) == (2, "[]")
    assert "only one of them" in ended.output


def test_a_file_of_expectations_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file, place = written(tmp_path / "log", login()), str(tmp_path / "missing" / "calls.json")
    ended = CliRunner().invoke(preview, [str(file), "--write-expect", place])
    assert (ended.exit_code, f"--write-expect {place}" in ended.output) == (2, True)


@pytest.mark.parametrize("form", ["lines", "array"])
def test_profiles_come_from_a_file(settings: Settings, tmp_path: Path, form: str) -> None:
    user = {"user_id": "auth0|1", "app_metadata": {"plan": "gold"}, "logins_count": 9}
    users = tmp_path / "users"
    users.write_text(json.dumps([user] if form == "array" else user))
    (sent,) = expectation(settings, written(tmp_path / "log", login()), users=users)
    assert sent["calls"][0]["traits"]["plan"] == "gold"


def test_an_expression_finds_the_records(settings: Settings, tmp_path: Path) -> None:
    file = written(tmp_path / "log", {"a": {"b": login()}})
    (sent,) = expectation(settings, file, record="a.b")
    assert "calls" in sent
    with pytest.raises(click.UsageError, match="--record is not a JMESPath expression"):
        expectation(settings, file, record="a.")


def test_the_written_expectation_is_met(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = expectation(settings, written(tmp_path / "log", login(), login(log_id="9002")))
    expected = tmp_path / "calls.json"
    write_expectation(expected, found)
    assert compare(expected, found) == 0
    assert "what" in capsys.readouterr().out


def test_a_difference_is_shown_line_by_line_and_ends_with_3(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = expectation(settings, written(tmp_path / "log", login()))
    expected = tmp_path / "calls.json"
    expected.write_text(json.dumps(found).replace("User Signed In", "Logged In"))
    assert compare(expected, found) == 3
    shown = capsys.readouterr()
    assert '-        "event": "Logged In",' in shown.out
    assert '+        "event": "User Signed In",' in shown.out
    assert "something else than expected" in shown.err


def test_a_long_difference_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = tmp_path / "calls.json"
    expected.write_text("[]")
    assert compare(expected, [{"log_id": str(number)} for number in range(500)]) == 3
    assert "more lines" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "problem"),
    [('{"log_id": "9001"}\n{"log_', "ends early at line 2"), ("\0", "cannot be read")],
)
def test_a_file_that_cannot_be_read_to_its_end_is_an_error(
    settings: Settings, tmp_path: Path, content: str, problem: str
) -> None:
    (tmp_path / "log").write_text(content)
    with pytest.raises(click.UsageError, match=problem):
        expectation(settings, tmp_path / "log")


@pytest.mark.parametrize("content", ["{", '{"email": "a"}', "[7]"])
def test_a_file_that_holds_no_users_is_an_error(
    settings: Settings, tmp_path: Path, content: str
) -> None:
    (tmp_path / "users").write_text(content)
    with pytest.raises(click.UsageError, match="--users"):
        expectation(settings, written(tmp_path / "log", login()), users=tmp_path / "users")
    with pytest.raises(click.UsageError, match="--expect"):
        compare(tmp_path / "none", [])


def test_a_preview_shows_each_event_as_its_own_route_sends_it(tmp_path: Path) -> None:
    config = tmp_path / "acme.toml"
    config.write_text(
        '[[routes]]\nname = "shop"\nwhen = "log.client_id == \'shop\'"\nsource_name = "s"\n'
        '[[routes]]\nname = "app"\nwhen = "log.client_id == \'app\'"\nsource_name = "a"\n'
    )
    records = [login(log_id=f"900{number}", client_id=each) for number, each in enumerate("xyz")]
    records[0]["client_id"], records[1]["client_id"] = "shop", "app"
    text = "".join(f"{json.dumps(each)}\n" for each in (*records, login(log_id="9009", type=None)))
    command = ["--config", str(config), "-", "--json"]
    ended = CliRunner().invoke(preview, command, input=text, catch_exceptions=False)
    rows = json.loads(ended.output)
    assert [row["route"] for row in rows] == ["shop", "app", None, "shop"]
    assert [row["filtered"] for row in rows] == [None, None, "no_route", None]
    assert rows[3]["dead_letter"]
    of_shop, of_app = (row["calls"][0]["messageId"] for row in rows[:2])
    one = CliRunner().invoke(preview, [*command, "--pipeline", "acme.shop"], input=text)
    rows = json.loads(one.output)
    assert [row["filtered"] for row in rows] == [None, "other_route", "no_route", None]
    assert rows[0]["calls"][0]["messageId"] == of_shop != of_app
    shown = CliRunner().invoke(preview, command[:-1], input=text, catch_exceptions=False).output
    assert "By route: shop 2, app 1, no route 1." in " ".join(shown.split())
