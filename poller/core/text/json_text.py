"""JSON text that keeps every digit: `encode` writes what `decode` parses to the same value."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

MAX_DEPTH = 100
"""The most levels of lists and objects within each other. Log events have about 8."""
_CUT_DEPTH = MAX_DEPTH + 10
"""The depth at which parsing cuts values off, in levels.

The margin leaves room for the list around log events, so a deep event is still recognised.
"""
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
"""A string, or a bracket outside of strings. A string without an end reaches to the end."""
_LONGEST_INT = 1000
"""The most digits of a whole number. Python refuses to read a whole number of over 4,300 digits."""
_CONTAINERS = frozenset({dict, list})
"""The exact types that `decode` makes of objects and arrays."""


class Number(float):
    """A number with the digits it came with, if Python would write others: `1e400`, `1.50`."""

    __slots__ = ("digits",)
    digits: str

    def __repr__(self) -> str:
        return self.digits


# JMESPath knows the type of a value by the name of its class.
Number.__name__ = "float"


def _number(digits: str) -> float:
    value = float(digits)
    if repr(value) == digits:
        return value
    number = Number(value)
    number.digits = digits
    return number


def _whole_number(digits: str) -> int | float:
    if len(digits) > _LONGEST_INT or digits == "-0":
        return _number(digits)
    return int(digits)


DECODER = json.JSONDecoder(parse_float=_number, parse_int=_whole_number)


def decode(text: str | bytes) -> Any:
    """Parse JSON. Numbers keep their digits. Of two equal keys the last key counts.

    Raises:
        ValueError: the text is not JSON, or has more than `MAX_DEPTH` levels.
    """
    try:
        value = json.loads(text, parse_float=_number, parse_int=_whole_number)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if is_too_deep(value):
        raise ValueError("nested too deep")
    return value


def decode_of_any_depth(text: str) -> Any:
    """Parse JSON, however deep its lists and objects are nested.

    A text that would exhaust Python's stack is cut: a list or an object below `_CUT_DEPTH` levels
    becomes an empty one. So the caller can still see that the value is too deep.

    Raises:
        ValueError: the text is not JSON.
    """
    try:
        return DECODER.decode(text)
    except RecursionError:
        return DECODER.decode(_cut(text))


def _cut(text: str) -> str:
    """Return the text without what lies below `_CUT_DEPTH` levels, however deep it is."""
    kept: list[str] = []
    depth = begin = 0
    for token in _TOKEN.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == _CUT_DEPTH:
                kept.append(text[begin : token.end()])
        elif token[0] in "]}":
            if depth == _CUT_DEPTH:
                begin = token.start()
            depth -= 1
    if depth >= _CUT_DEPTH:
        raise ValueError("the lists and objects have no end")
    kept.append(text[begin:])
    return "".join(kept)


def is_too_deep(value: Any) -> bool:
    """Return whether the value has more than `MAX_DEPTH` levels. No depth can exhaust the stack."""
    level = [value] if type(value) in _CONTAINERS else []
    for _ in range(MAX_DEPTH):
        if not level:
            return False
        level = [
            child
            for parent in level
            for child in (parent.values() if type(parent) is dict else parent)
            if type(child) in _CONTAINERS
        ]
    return bool(level)


def encode(value: object, *, indent: int = 0, is_sorted: bool = False) -> str:
    """Write JSON in ASCII, of at most some hundred levels.

    NaN and infinity, which JSON does not have, become text. So does any object that is unknown to
    JSON.
    """
    return _encoded(value, "\n" if indent else "", indent, is_sorted=is_sorted)


def _encoded(value: object, line: str, indent: int, *, is_sorted: bool) -> str:
    inner = line + " " * indent
    if isinstance(value, Mapping):
        keys = sorted(value, key=str) if is_sorted else [*value]
        members = [
            f"{json.dumps(str(key))}: {_encoded(value[key], inner, indent, is_sorted=is_sorted)}"
            for key in keys
        ]
        return _bracketed("{}", members, line, inner)
    if isinstance(value, list | tuple):
        entries = [_encoded(entry, inner, indent, is_sorted=is_sorted) for entry in value]
        return _bracketed("[]", entries, line, inner)
    return _scalar(value)


def _bracketed(brackets: str, parts: list[str], line: str, inner: str) -> str:
    if not parts:
        return brackets
    return f"{brackets[0]}{inner}{(f',{inner}' if line else ', ').join(parts)}{line}{brackets[1]}"


def _scalar(value: object) -> str:
    if isinstance(value, Number):
        return value.digits
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(json.dumps(value))
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        # JSON has no such value, or Python refuses to write a number of more than 4,300 digits.
        return json.dumps(f"<{type(value).__name__}>" if isinstance(value, int) else str(value))
