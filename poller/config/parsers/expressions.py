"""JMESPath expressions over two roots, `user` (the profile) and `log` (the event), checked when settings are read."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

from poller.config.errors import BadKeysError, BadValueError
from poller.config.parsers.texts import refuse_placeholder, text

_ROOTS = ("user", "log")
_LONGEST_KEY = 200
FUNCTIONS = {name: entry["signature"] for name, entry in Functions.FUNCTION_TABLE.items()}
"""The signature of every function that JMESPath has."""
# Nodes whose first child stands where they do, and whose others stand inside what it found.
_STEPS = {
    "subexpression",
    "index_expression",
    "projection",
    "value_projection",
    "filter_projection",
    "flatten",
    "pipe",
    "slice",
}


class Expression:
    """A compiled expression; implements core's."""

    def __init__(self, written: str) -> None:
        """Raises:
        BadValueError: it is no JMESPath, or looks at something beside the two roots.
        """
        self.text = written
        self._compiled = _compiled(written)
        fields = set(_fields(self._compiled.parsed))
        strange = sorted({root for root, _ in fields} - set(_ROOTS))
        if strange:
            said = "it names neither" if strange == ["@"] else f"`{strange[0]}` is neither"
            raise BadValueError(
                f"looks at `user` (the profile) and `log` (the event) only: {said}; a text goes in '…'"
            )
        self.names_user = any(root == "user" for root, _ in fields)
        self.names_log = any(root == "log" for root, _ in fields)
        found = [field for root, field in fields if root == "user"]
        self.user_fields = None if None in found else frozenset(field for field in found if field)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def of(self, user: Mapping[str, Any] | None, log: Mapping[str, Any]) -> Any:
        """What it finds; `user` is null to it where there is no profile.

        Raises:
            ValueError: it cannot be evaluated on these.
        """
        try:
            return self._compiled.search({"user": user, "log": log})
        except JMESPathError:  # its text holds values
            raise ValueError("the expression cannot be evaluated on this event") from None
        except (TypeError, ArithmeticError, AttributeError):  # of the library, on odd values
            raise ValueError("the expression cannot be evaluated on this event") from None


def expression(value: object) -> Expression | None:
    """An expression; None for one that is not given.

    Raises:
        BadValueError: not text, or no expression.
    """
    return value if value is None or isinstance(value, Expression) else Expression(text(value))


def lines(value: object) -> dict[str, Expression | None]:
    """Expressions by the trait or property that they fill; None, written `false`, takes one away.

    Raises:
        BadKeysError: with every line that is wrong.
        BadValueError: no table, nor JSON text of one.
    """
    table = _table(value)
    wrong: list[tuple[str, str]] = []
    found: dict[str, Expression | None] = {}
    for key, written in table.items():
        try:
            found[_name(key)] = None if written is False else expression(_text_or_false(written))
        except BadValueError as error:
            wrong.append((key, str(error)))
    if wrong:
        raise BadKeysError(tuple(wrong))
    return found


def _table(value: object) -> dict[str, object]:
    refuse_placeholder(value)
    if isinstance(value, str):  # the environment has nothing else
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        raise BadValueError("must be a table of expressions, in the environment a JSON object")
    return value


def _text_or_false(written: object) -> object:
    if not isinstance(written, str | Expression):
        raise BadValueError("must be an expression in quotes, or false to leave it out")
    return written


def _name(key: str) -> str:
    if not key.strip() or not key.isprintable() or len(key) > _LONGEST_KEY:
        raise BadValueError(f"must have a name of 1 to {_LONGEST_KEY} characters on one line")
    return key


def _compiled(written: str) -> Any:
    try:
        compiled = jmespath.compile(written)
    except JMESPathError as error:
        position = getattr(error, "lex_position", None)
        where = f" at column {position + 1}" if position is not None and position >= 0 else ""
        raise BadValueError(f"is no JMESPath expression{where}") from None
    except RecursionError:
        raise BadValueError("is too deeply nested") from None
    # The library looks a function up when it is called, so one behind `&&` would be missed until then.
    for name, count in _calls(compiled.parsed):
        signature = FUNCTIONS.get(name)
        if signature is None:
            raise BadValueError(f"is no JMESPath expression: {name}() is no such function")
        is_variadic = bool(signature) and bool(signature[-1].get("variadic"))
        if count < len(signature) or (count > len(signature) and not is_variadic):
            raise BadValueError(
                f"is no JMESPath expression: {name}() has a wrong number of arguments"
            )
    return compiled


def _calls(node: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Every function that is called, and with how many arguments."""
    if node["type"] == "function_expression":
        yield node["value"], len(node["children"])
    for child in node["children"]:
        if isinstance(child, Mapping):
            yield from _calls(child)


def _fields(node: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Every root that the expression looks at, `@` being all of them, with the field below it where one is named."""
    kind, children = node["type"], node["children"]
    if kind == "field":
        yield node["value"], None
    elif kind in {"current", "identity"}:
        yield "@", None
    elif kind == "subexpression" and children[0]["type"] == "field":
        yield children[0]["value"], _leftmost(children[1])
    elif kind in _STEPS:
        yield from _fields(children[0])
    elif kind != "expref":
        for child in children:
            yield from _fields(child)


def _leftmost(node: Mapping[str, Any]) -> str | None:
    while node["type"] in _STEPS and node["children"]:
        node = node["children"][0]
    return str(node["value"]) if node["type"] == "field" else None
