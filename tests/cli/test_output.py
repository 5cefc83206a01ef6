"""The streams of a command, and the characters that it writes."""

import ast
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from poller import cli
from poller.cli import COMMANDS
from poller.cli.views import output
from poller.cli.views.demo import DemoView
from poller.cli.views.terminal import Terminal
from tests.paths import ROOT

SIGNS = {"output.py", "timeline.py"}
"""The modules that know a plain character for each sign."""


def texts(file: Path) -> Iterator[str]:
    """Yield the texts of a module that are no docstrings."""
    tree = ast.parse(file.read_text())
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    docstrings = {id(node.value) for node in statements}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node.value


def test_every_text_of_the_program_is_ascii_but_for_the_signs_that_have_a_plain_form() -> None:
    folders = [ROOT / "poller" / name for name in ("cli", "config", "service")]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    found = {
        (file.name, text)
        for file in files
        if file.name not in SIGNS
        for text in texts(file)
        if not text.isascii() and text not in output.PLAIN_SIGNS
    }
    assert found == set()


@pytest.mark.parametrize(
    ("encoding", "shown"), [("utf-8", "✓✗?→"), ("ascii", "OKNO? ->"), ("latin-1", "OKNO? ->")]
)
def test_a_sign_is_plain_where_the_output_cannot_show_it(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    signs = "".join(map(output.sign, "✓✗?→"))
    assert signs == shown


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), *((name, "--help") for name in COMMANDS)]
)
def test_a_command_that_cannot_print_its_answer_never_exits_with_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "stdout", output._ClosedOutput())
    monkeypatch.setattr("sys.argv", ["auth0-segment-poller", *arguments])
    assert cli.run_command() == 75
    assert "the output cannot be written: standard output is closed" in capsys.readouterr().err


def test_no_line_has_a_colour_where_the_environment_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    output.say("red", fg="red")
    monkeypatch.setenv("NO_COLOR", "1")
    output.say("plain", fg="red")
    assert capsys.readouterr().out == "\x1b[31mred\x1b[0m\nplain\n"


def test_the_demo_keeps_its_signs_while_another_object_stands_for_stdout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown, faults = io.StringIO(), SimpleNamespace(seen=list)
    view = DemoView(SimpleNamespace(faults=faults))  # type: ignore[arg-type] # its faults only
    monkeypatch.setattr("sys.stdout", io.TextIOBase())
    Terminal(file=shown, width=100).print(view.render())
    assert "Auth0 → Segment" in shown.getvalue()
