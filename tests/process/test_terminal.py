"""No text of a record reaches a terminal raw, and no terminal ends a command."""

import json
import os
import re
import subprocess
import unicodedata
from pathlib import Path

import pytest

from tests.paths import DATA
from tests.process.bench import COMMAND, Bench, Running

HOSTILE = json.loads((DATA / "terminal-escapes.json").read_text())[0]
LOG_ID = "90020240312\x1b[2J\x9b1m\u202e\x7f\nforged"
NEW = {key: value for key, value in HOSTILE.items() if key not in {"_id", "log_id"}}
NAMELESS = {**HOSTILE, "type": "s", "user_id": "", "log_id": LOG_ID, "_id": LOG_ID}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def assert_plain(text: str) -> None:
    for character in text.replace("\n", ""):
        assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}, ascii(
            character
        )


@pytest.fixture
def hostile(plain: Bench) -> Bench:
    """A bench whose newest login and whose dead letter hold control characters."""
    plain.write_settings(poll__start="now")
    plain.folder.joinpath("log.ndjson").write_text(json.dumps(NAMELESS) + "\n")
    ended = plain.run("backfill", "--new", "--yes", "--from-file", "log.ndjson")
    assert_plain(ended.out + ended.err)
    plain.sandbox.ask("tenant", index_lag=0)  # the search of `preview` finds the record at once
    plain.sandbox.ask("append", records=[{**NEW, "user_id": "auth0|x\x1b[31m\u202e"}])
    return plain


COMMANDS = [
    ("preview", "--last", "2"),
    ("dead-letters", "list"),
    ("dead-letters", "show", LOG_ID),
    ("dead-letters", "replay", "--all", "--yes"),
    ("dead-letters", "discard", "\x1b[2Jnone"),
    ("status",),
    ("backfill", "--from-file", "\x1b[2Jno-file"),
]


def test_nothing_that_a_record_says_arrives_raw(hostile: Bench) -> None:
    seen = ""
    for command in COMMANDS:
        _, shown = hostile.on_a_terminal(*command, TERM="xterm-256color", COLUMNS="200")
        assert_plain(_COLOURS.sub("", shown))
        seen += shown
    assert r"\u001b[31mred" in seen
    assert r"\u202eevil" in seen
    assert r"\u001b[2Jnone" in seen
    ended = hostile.run("preview", "--last", "2", "--json")
    assert_plain(ended.out)
    assert "\u202eevil" in json.loads(ended.out)[0]["event"]["user_agent"]
    shown = json.loads(hostile.run("dead-letters", "show", LOG_ID).out)
    assert shown["event"] == NAMELESS
    assert shown["log_id"] == LOG_ID


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_of_any_encoding_shows_what_it_can(plain: Bench, encoding: str) -> None:
    plain.sandbox.ask("tenant", index_lag=0)
    plain.sandbox.ask(
        "append", records=[{**NEW, "user_name": "Zoë 山田 \ud800", "user_agent": "→"}]
    )
    for command in (["preview"], ["preview", "--json"], ["check"]):
        ended = plain.run(*command, environ={"PYTHONIOENCODING": encoding})
        assert ended.code in {0, 3}, ended.err
        text = ended.out
        assert command != ["check"] or re.match(r"OK version ", text)
        if "--json" in command:
            assert any(
                row["event"].get("user_name") == "Zoë 山田 \ud800" for row in json.loads(text)
            )


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_closed_output_ends_each_command_that_has_an_answer_and_no_other(
    plain: Bench, closed: str
) -> None:
    for command, code in (("run --once", 0), ("status", 75)):
        program = f"exec {COMMAND} {command} --config {plain.settings} {closed}"
        with Running(["/bin/sh", "-c", program], plain.folder, dict(os.environ)) as running:
            assert running.wait().code == code, running.err
            assert (code == 0) or "2>&-" in closed or "output is closed" in running.err
    plain.assert_conserved()


def test_a_reader_that_leaves_does_not_hide_the_exit_code(plain: Bench) -> None:
    plain.run("run", "--once")
    line = f"set -o pipefail; {COMMAND} status --strict --config {plain.settings} | true"
    ended = subprocess.run(["/bin/bash", "-c", line], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (69, "")


def test_a_secret_in_a_pipe_that_nobody_writes_to_is_an_error(plain: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "credentials"
    folder.mkdir()
    os.mkfifo(folder / "auth0_client_secret")
    ended = plain.run("check", environ={"CREDENTIALS_DIRECTORY": str(folder)})
    assert ended.code == 78
    assert "cannot be read: it is a pipe" in ended.err
