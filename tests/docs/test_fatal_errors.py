"""Whatever can end the program for good is in the runbook, with what to type."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.docs.pages import ROOT, page

SECTION = page("runbook.md").split("## It ends with 78", 1)[1].split("\n## ", 1)[0]
TELLING = 12
"""Characters of fixed text from which on a message can be told by it; shorter ones wrap another."""


def fixed_parts(node: ast.expr) -> list[str]:
    """The texts of a message that are the same each time."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return [part for value in node.values for part in fixed_parts(value)]
    return []


def fatal_errors() -> Iterator[tuple[str, list[str]]]:
    """Where each is raised, and the fixed texts of its message."""
    for path in sorted((ROOT / "poller").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            is_one = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "FatalError"
            )
            if is_one and isinstance(node, ast.Call) and node.args:
                parts = [part.strip(" :;()") for part in fixed_parts(node.args[0])]
                if max(map(len, parts), default=0) >= TELLING:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", parts


FOUND = dict(fatal_errors())
ROWS = re.findall(
    r"`([^`]+)`",
    "\n".join(line.split(" | ")[0] for line in SECTION.splitlines() if line[:1] == "|"),
)


def test_they_are_found() -> None:
    assert len(FOUND) > 20


@pytest.mark.parametrize("where", FOUND)
def test_each_has_its_row(where: str) -> None:
    parts = [part for part in FOUND[where] if len(part) >= TELLING]
    known = [part.strip() for row in ROWS for part in row.split("…")]
    assert any(row and (row in part or part in row) for row in known for part in parts), parts


def test_no_row_is_of_an_error_that_is_not_there() -> None:
    texts = "\n".join(path.read_text() for path in (ROOT / "poller").rglob("*.py"))
    for row in ROWS:
        if not row.startswith(("config.toml", "Auth0 answered", "Segment answered")):
            assert all(part.strip() in texts for part in row.split("…")), row


def test_each_fatal_error_is_raised_with_a_hint() -> None:
    for path in (ROOT / "poller").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "FatalError"
            ):
                assert "hint" in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"
