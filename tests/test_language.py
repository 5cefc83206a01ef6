"""The rules of our English that a program can check, over the syntax trees of all modules."""

import re
from collections.abc import Callable

import pytest

from tests.syntax import MODULES, facts

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


def riddles(text: str) -> list[int]:
    """Return the lines of the docstrings that open with a word of a riddle."""
    return [line for line, docstring in facts(text).docstrings if RIDDLE.match(docstring.strip())]


def semicolons(text: str) -> list[int]:
    """Return the lines of the docstrings that hold a semicolon."""
    return [line for line, docstring in facts(text).docstrings if ";" in docstring]


def riddle_names(text: str) -> list[int]:
    """Return the lines of the tests whose names do not open with their subject."""
    return [each.line for each in facts(text).functions if RIDDLE_NAME.match(each.name)]


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
    wrong = places(riddles, MODULES)
    assert not wrong, "\n".join(["Open these docstrings with a verb or a noun:", *wrong])


def test_the_name_of_a_test_opens_with_its_subject() -> None:
    wrong = places(riddle_names, MODULES)
    assert not wrong, "\n".join(["State the rule in these names as a sentence:", *wrong])


def test_no_line_is_longer_than_100_columns() -> None:
    wrong = places(long_lines, MODULES)
    assert not wrong, "\n".join(["Break these lines:", *wrong])


@pytest.mark.parametrize("room", sorted({room_of(name) for name in MODULES}))
def test_at_most_one_docstring_in_twenty_of_a_room_holds_a_semicolon(room: str) -> None:
    files = {name: text for name, text in MODULES.items() if room_of(name) == room}
    wrong = places(semicolons, files)
    total = sum(len(facts(text).docstrings) for text in files.values())
    assert len(wrong) <= MOST_SEMICOLONS * total, "\n".join(
        [f"{len(wrong)} of {total} docstrings in {room} hold a semicolon:", *wrong]
    )


def test_each_rule_finds_what_it_forbids() -> None:
    text = '"""Whether it rains."""\n\nRAIN = 1\n"""Wet; cold."""\n' + "#" * (LONGEST_LINE + 1)
    assert (riddles(text), semicolons(text), long_lines(text)) == ([1], [4], [5])
    names = "def test_it_rains(): ...\n\n\ndef test_items_rain(): ...\n"
    assert riddle_names(names) == [1]
    assert riddles('"""Whatever: a word that only begins like one of them."""') == []
