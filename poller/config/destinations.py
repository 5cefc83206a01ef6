"""Segment's `integrations`: where history goes, checked for the mistakes that Segment answers with 200."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from poller.config.errors import BadKeysError, BadValueError
from poller.config.parsers.texts import refuse_placeholder

LARGEST_BYTES = 600
"""It stands once in each request, in the room that a batch leaves for what is around the messages."""
_ALL, _WAREHOUSES = "All", "Warehouses"
_AS = '{"All": false, "Warehouses": {"all": true}}'


def integrations(value: object) -> dict[str, Any]:
    """A table of destinations, each true, false or a table of its options; as JSON text too.

    Raises:
        BadValueError: it is none, or has an effect that nobody means (Segment docs: Filtering data; Warehouses FAQ).
    """
    refuse_placeholder(value)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadValueError(f"is no JSON: write it as '{_AS}'") from None
    if not isinstance(value, Mapping):
        raise BadValueError(f"must be a table of destinations, as {_AS}")
    wrong = [(str(key), said) for key, entry in value.items() for said in _wrong(str(key), entry)]
    if wrong:
        raise BadKeysError(tuple(wrong))
    try:
        size = len(json.dumps(value, allow_nan=False))
    except (ValueError, TypeError):
        raise BadValueError(
            "holds what JSON has not: only text, numbers, true, false, lists and tables"
        ) from None
    if size > LARGEST_BYTES:
        raise BadValueError(f"is longer than {LARGEST_BYTES} bytes as JSON")
    return dict(value)


def _wrong(key: str, entry: object) -> Iterator[str]:
    if key != _ALL and key.lower() == "all":
        yield 'is a destination of that name: all of them are "All"'
    elif key != _WAREHOUSES and key.lower() in {"warehouse", "warehouses"}:
        yield 'is a destination of that name: warehouses are "Warehouses"'
    elif key == _ALL and not isinstance(entry, bool):
        yield "must be true or false"
    elif key == _WAREHOUSES:
        yield from _wrong_warehouses(entry)
    elif key != key.strip() or not key:
        yield "must be the name of a destination, as Segment spells it"
    elif not isinstance(entry, bool | Mapping):
        yield "must be true, false, or a table of the destination's options"


def _wrong_warehouses(entry: object) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield 'must be {"all": true}, {"all": false} or {"warehouseIds": […]}: no plain true or false'
        return
    for name, found in entry.items():
        if name == "all" and not isinstance(found, bool):
            yield "`all` in it must be true or false"
        elif name == "warehouseIds":
            is_list = isinstance(found, list) and all(
                isinstance(each, str) and each for each in found
            )
            if not is_list or not found:
                yield "`warehouseIds` in it must be a list of ids"
        elif name not in {"all", "warehouseIds"}:
            yield f"knows `all` and `warehouseIds`, and no `{name}`"
