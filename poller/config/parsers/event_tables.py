"""Parsers of the tables under `events` and `privacy`: names, types, context and fields."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from poller.config.errors import BadKeysError, BadValueError, Key
from poller.config.parsers.expressions import JmesPath, expression, expressions
from poller.config.parsers.texts import flag, name, refuse_placeholder
from poller.core.translation.event_types import GROUPS, SIGNUP, EventType
from poller.core.translation.log_types import KNOWN_TYPES, is_code
from poller.core.translation.privacy import FORMS, Form

_TRACKS = ("login", "signup")
_ROOTS = ("traits", "properties", "context")
_OWN_CONTEXT = {
    "library": "always leaves: Segment's library fills it, and it holds nothing of a person",
    "traits": "goes by the paths of the traits: write traits.email for context.traits.email",
}
"""Parts of the context that the program fills itself, and why no form can be given for them."""

T = TypeVar("T")


def event_names(value: object) -> dict[str, str]:
    """Return the names of tracks, by "login" and "signup".

    Raises:
        BadKeysError: a key or a name is wrong.
        BadValueError: the value is not a table.
    """

    def parse(key: str, written: object) -> str:
        if key not in _TRACKS:
            raise BadValueError(_unlike(key, _TRACKS))
        return name(written)

    return _each(_table(value), parse)


def event_types(value: object) -> dict[str, EventType]:
    """Return the tracks of more log event types, by type.

    A key is a type or a group of types. A type that has its own table is not taken from its group.

    Raises:
        BadKeysError: a key or a part of its table is wrong.
        BadValueError: the value is not a table.
    """
    tables = _each(_table(value), _event_type)
    by_type = {
        event_type: track
        for key, track in tables.items()
        for event_type in GROUPS.get(key, frozenset())
    }
    return by_type | {key: track for key, track in tables.items() if key not in GROUPS}


def context_lines(value: object) -> dict[str, JmesPath | None]:
    """Return expressions by the path in the context that they fill, such as `campaign.name`.

    A path may be written as one key, or as tables inside each other.

    Raises:
        BadKeysError: a path or an expression is wrong.
        BadValueError: the value is not a table.
    """

    def parse(path: str, written: object) -> JmesPath | None:
        root = path.partition(".")[0]
        if root in _OWN_CONTEXT:
            raise BadValueError(f"the program fills context.{root} itself")
        if not all(path.split(".")):
            raise BadValueError("has an empty name in its path")
        if not isinstance(written, str | JmesPath):
            raise BadValueError("must be an expression in quotes. privacy.fields leaves fields out")
        return expression(written)

    return _each(dict(_flat(_table(value))), parse)


def privacy_fields(value: object) -> dict[str, Form]:
    """Return the form of single fields, by their path.

    A path may be written as one key, or as tables inside each other.

    Raises:
        BadKeysError: a path or a form is wrong.
        BadValueError: the value is not a table.
    """

    def parse(path: str, written: object) -> Form:
        root, _, field = path.partition(".")
        if root not in _ROOTS or not field:
            raise BadValueError(
                "must begin with traits., properties. or context., as in traits.plan"
            )
        if root == "context" and field.partition(".")[0] in _OWN_CONTEXT:
            raise BadValueError(_OWN_CONTEXT[field.partition(".")[0]])
        form = next((form for form in FORMS if form == written), None)
        if form is None:
            raise BadValueError(f"must be one of {', '.join(FORMS)}")
        return form

    return _each(dict(_flat(_table(value))), parse)


def _event_type(key: str, written: object) -> EventType:
    _refuse_unknown_type(key)
    if not isinstance(written, Mapping) or "name" not in written:
        raise BadValueError('must be a table with a name, such as { name = "Login Failed" }')
    known = ("name", "anonymous", "properties")
    parts: dict[str, Any] = {}
    for part, each in written.items():
        if part not in known:
            raise BadKeysError((((key, part), _unlike(part, known)),))
        parts[part] = _part(key, part, each)
    return EventType(
        name=parts["name"],
        properties=parts.get("properties", {}),
        is_anonymous=parts.get("anonymous", False),
    )


def _part(key: str, part: str, written: object) -> Any:
    try:
        if part == "name":
            return name(written)
        if part == "properties":
            return expressions(written)
        return flag(written)
    except BadKeysError as error:
        wrong = tuple(((key, part, *_path(inner)), problem) for inner, problem in error.wrong)
        raise BadKeysError(wrong) from None
    except BadValueError as error:
        raise BadKeysError((((key, part), str(error)),)) from None


def _refuse_unknown_type(key: str) -> None:
    if key == SIGNUP:
        raise BadValueError("counts as a signup already: see [signups] and events.names")
    if key in GROUPS or key in KNOWN_TYPES:
        return
    close = _closest(key, [*GROUPS, *KNOWN_TYPES])
    if close or not is_code(key):
        raise BadValueError(_unlike(key, [*GROUPS, *KNOWN_TYPES]))


def _unlike(key: str, known: Sequence[str]) -> str:
    close = _closest(key, known)
    if close:
        return f"unknown: did you mean {close[0]}?"
    return "unknown"


def _closest(key: str, known: Sequence[str]) -> list[str]:
    from difflib import get_close_matches  # noqa: PLC0415 - only after a mistake

    return get_close_matches(key, known, n=1)


def _table(value: object) -> Mapping[str, object]:
    refuse_placeholder(value)
    if isinstance(value, str):  # the environment has only text
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, Mapping):
        raise BadValueError("must be a table, in the environment a JSON object")
    return value


def _flat(table: Mapping[str, object], above: str = "") -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _each(table: Mapping[str, object], parse: Callable[[str, object], T]) -> dict[str, T]:
    """Return each entry parsed. One error holds the problems of all entries."""
    parsed: dict[str, T] = {}
    wrong: list[tuple[Key, str]] = []
    for key, written in table.items():
        try:
            parsed[key] = parse(key, written)
        except BadKeysError as error:
            wrong += error.wrong
        except BadValueError as error:
            wrong.append((key, str(error)))
    if wrong:
        raise BadKeysError(tuple(wrong))
    return parsed


def _path(key: Key) -> tuple[str, ...]:
    return key if isinstance(key, tuple) else (key,)
