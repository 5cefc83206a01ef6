"""Options of the command line that several commands share."""

from pathlib import Path

import pytest

from poller import cli


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["auth0-segment-poller", *arguments])
    return cli.run_command()


def test_a_settings_file_that_cannot_be_read_ends_with_78_so_that_systemd_does_not_try_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "status", "--config", str(tmp_path)) == 78
    assert "error[settings-invalid]" in capsys.readouterr().err


def test_a_demo_of_less_than_a_second_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "demo", "--for", "0s") == 2
    assert "must be at least 1s" in capsys.readouterr().err
