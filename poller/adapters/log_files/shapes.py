"""The kinds of files, the envelopes around a log event, and objects that hold a list of events."""

import re
from typing import Any, Literal

from poller.core.text.json_text import DECODER

Kind = Literal["lines", "array", "envelope"]

_DEEPEST = 4
_MOST_MEMBERS = 50
_SHORTEST_LOG_ID = 20
"""The least length of an `id` of an event bus that can be a log id."""
_OF_A_RECORD = {"type", "log_id", "_id"}
_KEY = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*:\s*')
_COMMA = re.compile(r"\s*,")
_LIST_OF_OBJECTS = re.compile(r"\[\s*[{\]]")
_ARRAY = re.compile(r"\[\s*(?:[{\[\]]|$)")


def kind_of(start: str) -> Kind:
    """Return the kind of a file, from the first characters of its content."""
    text = start.lstrip("\ufeff \t\r\n")
    if _ARRAY.match(text):
        return "array"
    return "envelope" if text.startswith("{") and list_in(text, 0) is not None else "lines"


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
    return key.end() if _LIST_OF_OBJECTS.match(text, key.end()) else _end_of_value(text, key.end())


def unwrapped(record: Any) -> Any:
    """Return the log event inside the envelopes of a log stream or an event bus.

    A record without an envelope is returned as it is. A CloudEvent has a `type` of its own beside
    `data`, so that a `type` alone does not tell an event from an envelope.
    """
    for _ in range(_DEEPEST):
        inner = record.get("data", record.get("detail"))
        if not isinstance(inner, dict) or ("type" in record and not _is_event(inner)):
            return record
        log_id = record.get("log_id") or _id_of_bus(record)
        record = {**inner, "log_id": log_id} if log_id and not _has_id(inner) else inner
    return record


def _is_event(inner: dict[str, Any]) -> bool:
    return any(key in inner for key in ("type", "type_code", "data", "detail"))


def _has_id(inner: dict[str, Any]) -> bool:
    return bool(inner.get("log_id") or inner.get("_id"))


def _id_of_bus(record: dict[str, Any]) -> str | None:
    """Return the `id` of a CloudEvent if it can be a log id, else None."""
    if "specversion" not in record:
        return None
    bus_id = record.get("id")
    is_log_id = isinstance(bus_id, str) and len(bus_id) >= _SHORTEST_LOG_ID and bus_id.isdigit()
    return bus_id if is_log_id else None


def _end_of_value(text: str, at: int) -> int | None:
    try:
        return DECODER.raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        return None
