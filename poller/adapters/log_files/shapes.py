"""The kinds of files, and objects that hold a list of events."""

import re
from typing import Literal

from poller.core.text.json_text import DECODER

Kind = Literal["lines", "array", "envelope"]

_MOST_MEMBERS = 50
_OF_A_RECORD = {"type", "log_id", "_id"}
_HITS = "hits"
"""The key of the object that holds the list in an answer of Elasticsearch."""
_KEY = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*:\s*')
_COMMA = re.compile(r"\s*,")
_LIST_OF_OBJECTS = re.compile(r"\[\s*[{\]]")
_ARRAY = re.compile(r"\[\s*(?:[{\[\]]|$)")


def kind_of(start: str) -> Kind:
    """Return the kind of a file, from the first characters of its content."""
    text = start.lstrip("\ufeff \t\r\n")
    if _ARRAY.match(text):
        return "array"
    if text.startswith("{") and list_in(text, 0) is not None:
        return "envelope"
    return "lines"


def list_in(text: str, at: int) -> int | None:
    """Return the place of the list of records that the object at `at` holds, or None.

    The object may be cut off after the beginning of the list. A log event holds no such list.
    """
    at += 1
    for _ in range(_MOST_MEMBERS):
        key = _KEY.match(text, at)
        if key is None or key[1] in _OF_A_RECORD:
            return None
        if _LIST_OF_OBJECTS.match(text, key.end()):
            return key.end()
        if key[1] == _HITS and text.startswith("{", key.end()):
            return list_in(text, key.end())
        end = _end_of_value(text, key.end())
        comma = _COMMA.match(text, end) if end is not None else None
        if comma is None:
            return None
        at = comma.end()
    return None


def end_of_member(text: str, at: int) -> int | None:
    """Return the end of a member such as `"total": 3` after a list, or None if there is none.

    The end of a member that is itself a list of objects is the beginning of its value.
    """
    key = _KEY.match(text, at)
    if key is None:
        return None
    if _LIST_OF_OBJECTS.match(text, key.end()):
        return key.end()
    return _end_of_value(text, key.end())


def _end_of_value(text: str, at: int) -> int | None:
    try:
        return DECODER.raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        return None
