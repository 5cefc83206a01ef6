"""Options of the command line that several commands share."""

from pathlib import Path

import pytest

from poller import cli
from poller.cli.options import SettingsFile
from poller.config import SettingsError


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


def test_a_demo_of_less_than_a_second_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "demo", "--for", "0s") == 2
    assert "must be at least 1s" in capsys.readouterr().err
