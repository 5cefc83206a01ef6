"""Segment's limit on the size of a message, and the cut of long values that would break it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from poller.core.messages import MAX_MESSAGE_BYTES, Group, Identify, Message, Track

_LONGEST_KEPT_TEXT = 512
"""Characters that are kept of each value of a message that would be too large whole."""
_FIXED_BYTES = 256
"""Room for the timestamp, the names of the fields, and the parts that Segment's library adds."""
_LONGEST_NUMBER = 32
"""Characters of a number, and more than any number that leaves has."""
_MOST_BYTES_OF_A_CHARACTER = 12
"""JSON in ASCII spells a character outside the basic plane as two escapes of six bytes."""

_encode = json.JSONEncoder(allow_nan=False).encode  # json.dumps would make one for each call


def fit(message: Message) -> Message | None:
    """Return the message, with its long values cut if it would be too large for Segment.

    Return None if the message is too large anyway.
    """
    if not _may_be_too_large(message) or size(message) <= MAX_MESSAGE_BYTES:
        return message
    message = replace(message, context=_cut(message.context))
    match message:
        case Track():
            message = replace(message, properties=_cut(message.properties))
        case Identify() | Group():
            message = replace(message, traits=_cut(message.traits))
    if size(message) <= MAX_MESSAGE_BYTES:
        return message
    return None


def size(message: Message) -> int:
    """Return the bytes that the message takes in a request body, or a few more, never less."""
    return len(_encode([*_names(message), message.context, _values(message)])) + _FIXED_BYTES


def _may_be_too_large(message: Message) -> bool:
    """Return whether the message may be too large. Few messages are encoded to find out."""
    characters = sum(map(len, _names(message)))
    characters += _characters_in(message.context) + _characters_in(_values(message))
    return characters * _MOST_BYTES_OF_A_CHARACTER + _FIXED_BYTES > MAX_MESSAGE_BYTES


def _names(message: Message) -> tuple[str, ...]:
    ids = (message.message_id, message.user_id or "", message.anonymous_id or "")
    match message:
        case Track():
            return (*ids, message.event)
        case Group():
            return (*ids, message.group_id)
    return ids


def _values(message: Message) -> Mapping[str, Any]:
    match message:
        case Track():
            return message.properties
        case Identify() | Group():
            return message.traits
    raise TypeError(type(message).__name__)


def _characters_in(values: Mapping[str, Any]) -> int:
    """Return an upper bound of the characters in the keys and values, inside a table too."""
    count = 0
    for key, value in values.items():
        count += len(key) + 8  # the quotes, the colon and the comma
        if isinstance(value, str):
            count += len(value)
        elif isinstance(value, dict):
            count += _characters_in(value)
        else:
            count += _LONGEST_NUMBER
    return count


def _cut(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with each text cut to its first characters, inside a table too."""
    return {key: _cut_value(value) for key, value in values.items()}


def _cut_value(value: Any) -> Any:
    if isinstance(value, dict):
        return _cut(value)
    if isinstance(value, str):
        return value[:_LONGEST_KEPT_TEXT]
    return value
