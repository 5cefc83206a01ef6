"""Options of the command line that several commands share."""

import re
from pathlib import Path

import pytest

from poller import cli
from poller.cli import settings_file
from poller.cli.settings_file import SettingsFile
from poller.config import SettingsError
from poller.config.sources import paths
from tests.paths import ROOT


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["auth0-segment-poller", *arguments])
    return cli.run_command()


def test_a_settings_file_that_cannot_be_read_ends_with_78_so_that_systemd_does_not_try_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "status", "--config", str(tmp_path)) == 78
    assert "error[settings-invalid]" in capsys.readouterr().err


def test_a_settings_file_is_read_once_even_if_it_is_wrong(tmp_path: Path) -> None:
    """A pipe gives its content once. A second reading would find no settings at all."""
    good, wrong = tmp_path / "good.toml", tmp_path / "wrong.toml"
    good.write_text('[auth0]\nclient_id = "abc"\n')
    wrong.write_text("junk\n")
    file, broken = SettingsFile(good), SettingsFile(wrong)
    assert file.content is file.content
    errors = []
    for _ in range(2):
        with pytest.raises(SettingsError) as error:
            _ = broken.content
        errors.append(error.value)
        wrong.write_text("")
    assert errors[0] is errors[1]


@pytest.mark.parametrize(
    "arguments", [("preview", "--last", "x"), ("backfill", "--parallel", "33")]
)
def test_a_number_out_of_range_is_told_with_both_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert "must be a whole number from 1 to " in capsys.readouterr().err


def test_every_command_that_sends_or_deletes_has_the_option_yes() -> None:
    """A command is known by its question, so that no new one can ask in another way."""
    asking = {
        file.stem
        for file in (ROOT / "poller/cli/commands").glob("*.py")
        if re.search(r"\b(?:confirm|refuse_without_terminal)\(", file.read_text())
    }
    assert asking == {
        "backfill",
        "backfill_files",
        "backfill_log",
        "dead_letters",
        "init",
        "key",
        "ledger",
        "person",
    }
    texts = {file.name: file.read_text() for file in (ROOT / "poller/cli").rglob("*.py")}
    confirming = {name for name, text in texts.items() if "click.confirm" in text}
    assert confirming == {"confirmation.py"}
    assert {name for name, text in texts.items() if "click.prompt" in text} == {"questions.py"}


@pytest.mark.parametrize(
    "arguments",
    [("backfill", "--since", "1d"), ("backfill", "--from-file", __file__)],
)
def test_a_backfill_without_a_terminal_needs_its_yes_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert "add --yes" in capsys.readouterr().err


def test_a_demo_of_less_than_a_second_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "demo", "--for", "0s") == 2
    assert "must be at least 1s" in capsys.readouterr().err


@pytest.mark.parametrize("is_typed", [True, False])
def test_only_a_person_is_told_that_the_folders_file_comes_before_the_installed_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_typed: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "SYSTEM_FILE", tmp_path / "installed.toml")
    monkeypatch.setattr(settings_file, "is_terminal", lambda stream: is_typed)
    for name in ("config.toml", "installed.toml"):
        (tmp_path / name).write_text("[auth0]\n")
    file = SettingsFile(None)
    for _ in range(2):
        assert file.content is not None
        assert file.folder is None
    said = capsys.readouterr().err
    assert said.count("reads config.toml of this folder") == is_typed
