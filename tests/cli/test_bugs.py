"""A bug ends with 1, a place to look at, and nobody's data."""

import pytest

from poller import cli
from poller.__main__ import main
from poller.core.errors import FatalError


def test_a_bug_shows_its_place_and_never_its_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        try:
            raise ValueError("person@example.com wk_secret")  # noqa: TRY301 - the bug itself
        except ValueError as error:
            raise RuntimeError("203.0.113.9") from error

    monkeypatch.setattr(cli.program, "main", fail)
    assert cli.run_command() == 1
    said = capsys.readouterr().err
    assert "bug: RuntimeError" in said
    assert "test_bugs.py" in said
    assert not any(part in said for part in ("person@example.com", "wk_secret", "203.0.113.9"))


def test_a_fatal_error_exits_with_78_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise FatalError("it is so", code="log-empty", hint="do this")

    monkeypatch.setattr(cli.program, "main", fail)
    assert cli.run_command() == 78
    assert capsys.readouterr().err == "error[log-empty]: it is so\n  do this\n"


def test_ctrl_c_while_the_program_starts_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_command", interrupt)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130


def test_an_interrupt_that_becomes_another_error_is_an_interrupt_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**options: object) -> int:
        del options
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("release unlocked lock")

    monkeypatch.setattr(cli.program, "main", interrupted)
    assert cli.run_command() == 130
    assert capsys.readouterr().err == ""
