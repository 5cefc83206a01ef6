"""The rules of the modules of the program and of tests."""

import ast
import re
from collections import Counter

from tests.paths import ROOT, TESTS

MODULES = [path for path in sorted(TESTS.rglob("*.py")) if "node_modules" not in path.parts]
PROGRAM_PATHS = sorted((ROOT / "poller").rglob("*.py"))
PROGRAM = [path.read_text() for path in PROGRAM_PATHS]
LONGEST_FUNCTION = 40
LONGEST_MODULE = 300
MOST_CONDITIONAL_EXPRESSIONS = 15
"""The most in 1,000 lines of the program."""
NOT_SHARED = re.compile(r"\b(test_\w+|conftest)$")


def test_no_module_imports_a_test_module() -> None:
    """Builders, fakes and other shared code have modules of their own."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} imports {name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
        if NOT_SHARED.search(name)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_two_test_modules_have_one_name() -> None:
    counts = Counter(path.name for path in MODULES if path.name.startswith("test_"))
    assert [name for name, count in counts.items() if count > 1] == []


def long_functions(text: str) -> list[str]:
    return [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    ]


def conditional_expressions(text: str) -> int:
    return sum(isinstance(node, ast.IfExp) for node in ast.walk(ast.parse(text)))


def test_no_module_of_the_program_is_longer_than_300_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in PROGRAM_PATHS}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_no_function_of_the_program_is_longer_than_40_lines() -> None:
    assert [name for text in PROGRAM for name in long_functions(text)] == []


def test_conditional_expressions_are_rare() -> None:
    """Two statements and an `if` read better than a long expression."""
    lines = sum(len(text.splitlines()) for text in PROGRAM)
    found = sum(map(conditional_expressions, PROGRAM))
    assert found * 1000 <= MOST_CONDITIONAL_EXPRESSIONS * lines


def test_the_rules_find_what_breaks_them() -> None:
    line = "    a = 1\n"
    assert long_functions("def short():\n" + (LONGEST_FUNCTION - 1) * line) == []
    assert long_functions("async def long():\n" + LONGEST_FUNCTION * line) == ["long"]
    assert conditional_expressions("a = 1 if b else 2 if c else 3") == 2
