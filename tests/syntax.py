"""The facts about modules that the tests of our rules ask for, from one walk over each tree."""

import ast
from dataclasses import dataclass, field
from functools import cache

from tests.paths import ROOT

MODULES = {
    str(path.relative_to(ROOT)): path.read_text()
    for folder in ("poller", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "node_modules" not in path.parts
}
"""The text of every module, by its path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function of a module."""

    name: str
    line: int
    lines: int


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts about one module. Each list is in the order of the walk."""

    docstrings: list[tuple[int, str]] = field(default_factory=list)
    """The docstrings with their lines, those below a value included."""
    functions: list[Function] = field(default_factory=list)
    imported: list[tuple[int, str]] = field(default_factory=list)
    """The names of imported modules, and the names imported from them, with their lines."""
    conditional_expressions: list[int] = field(default_factory=list)


@cache
def facts(text: str) -> Facts:
    """Return the facts about a module. To parse all modules takes seconds."""
    found = Facts()
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                lines = (node.end_lineno or 0) - node.lineno + 1
                found.functions.append(Function(name=node.name, line=node.lineno, lines=lines))
            case ast.Import() | ast.ImportFrom():
                names = [getattr(node, "module", None) or "", *(each.name for each in node.names)]
                found.imported.extend((node.lineno, name) for name in names)
            case ast.IfExp():
                found.conditional_expressions.append(node.lineno)
            case ast.Expr(value=ast.Constant(value=str() as docstring)):
                found.docstrings.append((node.lineno, docstring))
    return found
