"""The rules of the modules of the program and of tests."""

import re
from collections import Counter
from pathlib import PurePath

from tests.syntax import MODULES, facts

PROGRAM = {name: text for name, text in MODULES.items() if name.startswith("poller/")}
LONGEST_FUNCTION = 40
LONGEST_MODULE = 300
MOST_CONDITIONAL_EXPRESSIONS = 15
"""The most in 1,000 lines of the program."""
NOT_SHARED = re.compile(r"\b(test_\w+|conftest)$")


def test_no_module_imports_a_test_module() -> None:
    """Builders, fakes and other shared code have modules of their own."""
    wrong = [
        f"{path}:{line} imports {name}"
        for path, text in MODULES.items()
        for line, name in facts(text).imported
        if NOT_SHARED.search(name)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_two_test_modules_have_one_name() -> None:
    counts = Counter(PurePath(path).name for path in MODULES)
    assert [name for name, count in counts.items() if count > 1 and name.startswith("test_")] == []


def long_functions(text: str) -> list[str]:
    return [each.name for each in facts(text).functions if each.lines > LONGEST_FUNCTION]


def test_no_module_of_the_program_is_longer_than_300_lines() -> None:
    lengths = {path: len(text.splitlines()) for path, text in PROGRAM.items()}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_MODULE} == {}


def test_no_function_of_the_program_is_longer_than_40_lines() -> None:
    assert [name for text in PROGRAM.values() for name in long_functions(text)] == []


def test_conditional_expressions_are_rare() -> None:
    """Two statements and an `if` read better than a long expression."""
    lines = sum(len(text.splitlines()) for text in PROGRAM.values())
    found = sum(len(facts(text).conditional_expressions) for text in PROGRAM.values())
    assert found * 1000 <= MOST_CONDITIONAL_EXPRESSIONS * lines


def test_the_rules_find_what_breaks_them() -> None:
    line = "    a = 1\n"
    assert long_functions("def short():\n" + (LONGEST_FUNCTION - 1) * line) == []
    assert long_functions("async def long():\n" + LONGEST_FUNCTION * line) == ["long"]
    assert facts("a = 1 if b else 2 if c else 3").conditional_expressions == [1, 1]
