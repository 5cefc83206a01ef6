"""Every fatal error has a code, a hint, and a section of the runbook that says what to do."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import get_args

import pytest

from poller.core.errors import ErrorCode
from tests.docs.pages import ROOT, page

SECTIONS = dict(
    re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", page("runbook.md"), re.MULTILINE | re.DOTALL)
)
CODES = get_args(ErrorCode)


@cache
def texts() -> dict[Path, str]:
    """Return the text of every module of the program."""
    return {path: path.read_text() for path in sorted((ROOT / "poller").rglob("*.py"))}


@cache
def trees() -> dict[Path, ast.Module]:
    """Return the syntax tree of every module, which takes long. No collection may wait for it."""
    return {path: ast.parse(text) for path, text in texts().items()}


def fatal_classes() -> set[str]:
    """The names of FatalError and of the classes that derive from it."""
    names = {"FatalError"}
    for _ in range(3):
        names |= {
            node.name
            for tree in trees().values()
            for node in tree.body
            if isinstance(node, ast.ClassDef)
            and any(isinstance(base, ast.Name) and base.id in names for base in node.bases)
        }
    return names


def raised() -> Iterator[tuple[str, ast.Call]]:
    """Each place where a fatal error is made."""
    made = fatal_classes() - {"OlderLedgerError"}
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in made
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_each_fatal_error_names_its_code_and_a_hint_where_it_is_raised() -> None:
    found = list(raised())
    assert len(found) > 40
    for where, call in found:
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        code = keywords.get("code")
        is_passed_on = isinstance(code, ast.Attribute) and code.attr == "code"
        is_known = isinstance(code, ast.Constant) and code.value in CODES
        assert is_passed_on or is_known, where
        assert "hint" in keywords, where


@pytest.mark.parametrize("code", CODES)
def test_each_code_has_its_section_in_the_runbook(code: str) -> None:
    section = SECTIONS[code]
    assert section.startswith("**Symptom.** ")
    for part in ("\n**Check and fix**\n\n1. ", "\n**Escalate**"):
        assert part in section


def test_no_section_is_of_a_code_that_is_not_there() -> None:
    assert set(SECTIONS) == set(CODES)


def test_the_list_of_codes_links_to_every_section() -> None:
    linked = re.findall(r"\[`([a-z0-9-]+)`\]\(#([a-z0-9-]+)\)", page("runbook.md"))
    assert all(code == anchor for code, anchor in linked)
    assert sorted(code for code, _ in linked) == list(CODES)


@pytest.mark.parametrize("code", CODES)
def test_each_code_is_in_use_and_in_kebab_case(code: str) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", code)
    assert any(
        f'"{code}"' in text
        for path, text in texts().items()
        if path.name != "errors.py" or "config" in path.parts
    )


def test_codes_are_listed_once_and_in_order() -> None:
    assert list(CODES) == sorted(set(CODES))
