"""JMESPath expressions over two roots: `user`, the profile, and `log`, the event.

An expression is compiled and checked when the settings are read. So a mistake stops the start,
and not the translation of the first event.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from poller.config.errors import BadKeysError, BadValueError
from poller.config.parsers.texts import refuse_placeholder, text

_ROOTS = ("user", "log")
_LONGEST_KEY = 200
# The first child of these nodes is evaluated where the node stands. The other children are
# evaluated inside the result of the first, so a field in them is not a root.
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


class JmesPath:
    """A compiled expression. It implements the protocol `Expression` of core."""

    def __init__(self, written: str) -> None:
        """Compile the expression.

        Raises:
            BadValueError: the text is not JMESPath, or looks at something other than the two roots.
        """
        self.text = written
        self._compiled = _compile(written)
        fields = set(_fields(self._compiled.parsed))
        others = sorted({root for root, _ in fields} - set(_ROOTS))
        if others:
            problem = "it names neither" if others == ["@"] else f"`{others[0]}` is neither"
            raise BadValueError(
                f"looks at `user` (the profile) and `log` (the event) only: {problem}. "
                "A text goes in '...'"
            )
        self.names_user = any(root == "user" for root, _ in fields)
        self.names_log = any(root == "log" for root, _ in fields)
        of_user = [field for root, field in fields if root == "user"]
        self.user_fields = None if None in of_user else frozenset(filter(None, of_user))

    def __repr__(self) -> str:
        return f"JmesPath({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JmesPath) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def of(self, user: Mapping[str, Any] | None, log: Mapping[str, Any]) -> Any:
        """Return the value of the expression. `user` is null in it if there is no profile.

        Raises:
            ValueError: the expression cannot be evaluated on this profile and event.
        """
        from jmespath.exceptions import JMESPathError  # noqa: PLC0415 - imported when compiled

        try:
            return self._compiled.search({"user": user, "log": log})
        # The library raises the last three on odd values. Its messages hold values, so no message
        # of it is passed on.
        except (JMESPathError, TypeError, ArithmeticError, AttributeError):
            raise ValueError("the expression cannot be evaluated on this event") from None


def expression(value: object) -> JmesPath | None:
    """Return the expression of a text, or None for None.

    Raises:
        BadValueError: the value is not text, or not an expression.
    """
    if value is None or isinstance(value, JmesPath):
        return value
    return JmesPath(text(value))


def expressions(value: object) -> dict[str, JmesPath | None]:
    """Return expressions by the trait or property that they fill.

    None, which is written `false`, removes a trait or property of the preset.

    Raises:
        BadKeysError: lines of the table are wrong. The error holds all of them.
        BadValueError: the value is neither a table nor JSON text of one.
    """
    wrong: list[tuple[str, str]] = []
    parsed: dict[str, JmesPath | None] = {}
    for key, written in _table(value).items():
        try:
            parsed[_name(key)] = None if written is False else expression(_text(written))
        except BadValueError as error:
            wrong.append((key, str(error)))
    if wrong:
        raise BadKeysError(tuple(wrong))
    return parsed


def _table(value: object) -> dict[str, object]:
    refuse_placeholder(value)
    if isinstance(value, str):  # The environment has only text.
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        raise BadValueError("must be a table of expressions, in the environment a JSON object")
    return value


def _text(written: object) -> object:
    if not isinstance(written, str | JmesPath):
        raise BadValueError("must be an expression in quotes, or false to remove it")
    return written


def _name(key: str) -> str:
    if not key.strip() or not key.isprintable() or len(key) > _LONGEST_KEY:
        raise BadValueError(f"must have a name of 1 to {_LONGEST_KEY} characters on one line")
    return key


def _compile(written: str) -> Any:
    # Most settings hold no expression, so most commands need not wait for the library.
    import jmespath  # noqa: PLC0415 - same
    from jmespath.exceptions import JMESPathError  # noqa: PLC0415 - same

    try:
        compiled = jmespath.compile(written)
    except JMESPathError as error:
        position = getattr(error, "lex_position", None)
        where = "" if position is None or position < 0 else f" at column {position + 1}"
        raise BadValueError(f"is not a JMESPath expression{where}") from None
    except RecursionError:
        raise BadValueError("is too deeply nested") from None
    _check_calls(compiled.parsed)
    return compiled


def _check_calls(parsed: Mapping[str, Any]) -> None:
    """Check the name and the number of arguments of each call.

    The library does so only when it calls the function, and a call behind `&&` may come late.

    Raises:
        BadValueError: a call is wrong.
    """
    from jmespath.functions import Functions  # noqa: PLC0415 - imported when compiled

    for name, count in _calls(parsed):
        if name not in Functions.FUNCTION_TABLE:
            raise BadValueError(f"is not a JMESPath expression: there is no function {name}()")
        signature = Functions.FUNCTION_TABLE[name]["signature"]
        is_variadic = bool(signature) and bool(signature[-1].get("variadic"))
        if count < len(signature) or (count > len(signature) and not is_variadic):
            raise BadValueError(
                f"is not a JMESPath expression: {name}() has a wrong number of arguments"
            )


def _calls(node: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield every function that is called, with the number of its arguments."""
    if node["type"] == "function_expression":
        yield node["value"], len(node["children"])
    for child in node["children"]:
        if isinstance(child, Mapping):
            yield from _calls(child)


def _fields(node: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """Yield every root that the expression looks at, and the field below it if one is named.

    The root `@` stands for both roots at once.
    """
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
    if node["type"] == "field":
        return str(node["value"])
    return None
