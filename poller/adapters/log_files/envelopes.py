"""The envelopes that log streams, event buses and log stores put around a log event."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from poller.core.text.json_text import decode
from poller.core.translation.log_types import is_code

Unwrap = Callable[[Any], Any]
"""Returns the log event inside a JSON object, or the object itself."""

_DEEPEST = 6
_SHORTEST_LOG_ID = 20
"""The least length of an `id` of an event bus that can be a log id."""
_INNER: tuple[tuple[str, ...], ...] = (
    ("data",),  # Auth0's log streams, CloudEvents
    ("detail",),  # EventBridge
    ("event", "original"),  # Elastic's integration for Auth0, whose `event` has a type too
    ("event",),  # Splunk HEC
    ("event.original",),
    ("auth0", "logs"),
    ("_source",),  # Elasticsearch
    ("attributes",),  # Datadog
    ("content",),
    ("jsonPayload",),  # Google Cloud Logging
    ("result",),  # an export of Splunk
    ("_raw",),
    ("Message",),  # SNS
    ("body",),  # SQS
    ("Body",),
    ("message",),  # CloudWatch Logs, Logstash
)
"""The places in an envelope at which the event or the next envelope can stand, best first.

The value at a place is an object, or the JSON text of one.
"""
_COLUMN = re.compile(r"(?:data_)?(\w+?)_([sdbtg])")
"""A column of Azure Monitor: the name of a value and its type (Azure docs: HTTP Data Collector)."""
_COLUMN_OF_ID = ("log_id_s", "data_log_id_s")
_NESTED_COLUMN = re.compile(r"(details)_(stats|body|prompts|session_id)(?:_(\w+))?")


def unwrapped(record: Any) -> Any:
    """Return the log event inside the known envelopes.

    A record without an envelope is returned as it is. A CloudEvent has a `type` of its own beside
    `data`, so that a `type` alone does not tell an event from an envelope. The id of a record in a
    log store is never taken for the log id.
    """
    for _ in range(_DEEPEST):
        if not isinstance(record, dict) or is_event(record):
            return record
        if any(column in record for column in _COLUMN_OF_ID):
            return _of_columns(record)
        inner = next(_inner_of(record), None)
        if inner is None:
            return record
        log_id = record.get("log_id") or _id_of_bus(record)
        record = {**inner, "log_id": log_id} if log_id and not _has_id(inner) else inner
    return record


def is_event(record: Mapping[str, Any]) -> bool:
    """Return whether the object is a log event itself, and no envelope.

    An event has a code as its type, and a date or an id beside it.
    """
    kind = record.get("type_code", record.get("type"))
    is_typed = isinstance(kind, str) and ("type_code" in record or is_code(kind))
    return is_typed and ("date" in record or _has_id(record)) and "attributes" not in record


def _inner_of(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in _INNER:
        value: Any = record
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        inner = _parsed(value) if isinstance(value, str) else value
        if isinstance(inner, dict) and _may_hold_event(inner, has_type="type" in record):
            yield inner


def _may_hold_event(inner: dict[str, Any], *, has_type: bool) -> bool:
    """Return whether this object is an event or an envelope, and no detail of an event."""
    if not has_type and ("data" in inner or "log_id" in inner):
        return True
    return _has_type(inner) or next(_inner_of(inner), None) is not None


def _has_type(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("type"), str) or "type_code" in record


def _has_id(record: Mapping[str, Any]) -> bool:
    return bool(record.get("log_id") or record.get("_id"))


def _id_of_bus(record: Mapping[str, Any]) -> str | None:
    """Return the `id` of a CloudEvent if it can be a log id, else None."""
    if "specversion" not in record:
        return None
    bus_id = record.get("id")
    is_log_id = isinstance(bus_id, str) and len(bus_id) >= _SHORTEST_LOG_ID and bus_id.isdigit()
    return bus_id if is_log_id else None


def _parsed(text: str) -> Any:
    """Return the value of JSON text, or None."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return decode(text)
    except ValueError:
        return None


def _of_columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event of a row of Azure Monitor.

    Each name has the type of its column at its end, and the objects inside are either text or
    columns of their own.
    """
    event: dict[str, Any] = {}
    for column, value in record.items():
        match = _COLUMN.fullmatch(column)
        if match is None or value in ("", None):
            continue
        nested = _NESTED_COLUMN.fullmatch(match[1])
        if nested is None:
            event[match[1]] = _object_or(value)
            continue
        details = event.setdefault("details", {})
        if isinstance(details, dict) and nested[3] is None:
            details[nested[2]] = _object_or(value)
        elif isinstance(details, dict):
            part = details.setdefault(nested[2], {})
            if isinstance(part, dict):
                part[nested[3]] = _object_or(value)
    return event


def _object_or(value: Any) -> Any:
    """Return the object or the list that text holds as JSON, and any other value as it is."""
    if isinstance(value, str) and value[:1] in {"{", "["}:
        try:
            return decode(value)
        except ValueError:
            return value
    return value


def by_expression(text: str) -> Unwrap:
    """Return a function that finds the log event by a JMESPath expression.

    An object in which the expression finds no object is returned as it is.

    Raises:
        ValueError: the text is not an expression.
    """
    import jmespath  # noqa: PLC0415 - imported when it is used
    from jmespath.exceptions import JMESPathError  # noqa: PLC0415 - same

    try:
        expression = jmespath.compile(text)
    except JMESPathError as error:
        raise ValueError(str(error).splitlines()[0]) from None

    def unwrap(record: Any) -> Any:
        try:
            found = expression.search(record)
        except (JMESPathError, TypeError, ArithmeticError, AttributeError):
            return record
        event = _parsed(found) if isinstance(found, str) else found
        return event if isinstance(event, dict) else record

    return unwrap
