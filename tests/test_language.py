"""The rules of our English that a program can check, over the syntax trees of all modules."""

import ast
import re
from collections.abc import Callable
from functools import cache

import pytest

from tests.paths import ROOT

LONGEST_LINE = 100
MOST_SEMICOLONS = 0.05
RIDDLE = re.compile(
    r"(What|Where|Which|How|Whether|Who|Whom|Whose|Those|These|That|The same)\b", re.IGNORECASE
)

RIDDLE_NAME = re.compile(
    r"test_(what|whatever|where|wherever|which|how|whether|who|whoever|whom|whose"
    r"|it|its|they|those|these|that|this|nobody|so)_"
)
"""The openings of a test's name that leave its subject to a guess."""

FILES = {
    str(path.relative_to(ROOT)): path.read_text()
    for folder in ("poller", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "node_modules" not in path.parts
}


@cache
def docstrings(text: str) -> list[tuple[int, str]]:
    """Return the docstrings of a module with their lines, those below a value included."""
    return [
        (statement.lineno, statement.value.value)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    ]


def riddles(text: str) -> list[int]:
    """Return the lines of the docstrings that open with a word of a riddle."""
    return [line for line, docstring in docstrings(text) if RIDDLE.match(docstring.strip())]


def semicolons(text: str) -> list[int]:
    """Return the lines of the docstrings that hold a semicolon."""
    return [line for line, docstring in docstrings(text) if ";" in docstring]


def riddle_names(text: str) -> list[int]:
    """Return the lines of the tests whose names do not open with their subject."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and RIDDLE_NAME.match(node.name)
    ]


def long_lines(text: str) -> list[int]:
    """Return the lines that are longer than the formatter makes them."""
    return [n for n, line in enumerate(text.splitlines(), 1) if len(line) > LONGEST_LINE]


def places(rule: Callable[[str], list[int]], files: dict[str, str]) -> list[str]:
    """Return every place where files break a rule, as `path:line`."""
    return [f"{name}:{line}" for name, text in files.items() for line in rule(text)]


def room_of(name: str) -> str:
    """Return the top-level room of a file: `tests`, or a package such as `poller/core`."""
    return "tests" if name.startswith("tests/") else "/".join(name.split("/")[:2])


def test_a_docstring_opens_with_a_verb_or_a_noun() -> None:
    wrong = places(riddles, FILES)
    assert not wrong, "\n".join(["Open these docstrings with a verb or a noun:", *wrong])


def test_the_name_of_a_test_opens_with_its_subject() -> None:
    wrong = places(riddle_names, FILES)
    assert not wrong, "\n".join(["State the rule in these names as a sentence:", *wrong])


def test_no_line_is_longer_than_100_columns() -> None:
    wrong = places(long_lines, FILES)
    assert not wrong, "\n".join(["Break these lines:", *wrong])


@pytest.mark.parametrize("room", sorted({room_of(name) for name in FILES}))
def test_at_most_one_docstring_in_twenty_of_a_room_holds_a_semicolon(room: str) -> None:
    files = {name: text for name, text in FILES.items() if room_of(name) == room}
    wrong = places(semicolons, files)
    total = sum(len(docstrings(text)) for text in files.values())
    assert len(wrong) <= MOST_SEMICOLONS * total, "\n".join(
        [f"{len(wrong)} of {total} docstrings in {room} hold a semicolon:", *wrong]
    )


def test_each_rule_finds_what_it_forbids() -> None:
    text = '"""Whether it rains."""\n\nRAIN = 1\n"""Wet; cold."""\n' + "#" * (LONGEST_LINE + 1)
    assert (riddles(text), semicolons(text), long_lines(text)) == ([1], [4], [5])
    names = "def test_it_rains(): ...\n\n\ndef test_items_rain(): ...\n"
    assert riddle_names(names) == [1]
    assert riddles('"""Whatever: a word that only begins like one of them."""') == []
