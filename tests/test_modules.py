"""The rules of the modules of tests."""

import ast
import re
from collections import Counter

from tests.paths import ROOT, TESTS

MODULES = [path for path in sorted(TESTS.rglob("*.py")) if "node_modules" not in path.parts]
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
