"""Segment's `integrations`: the destinations of history.

Segment answers 200 to a table with a mistake, so the mistakes are found here.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from poller.config.errors import BadKeysError, BadValueError
from poller.config.parsers.texts import refuse_placeholder

LARGEST_BYTES = 600
"""The table stands once in each request, in the room that a batch leaves beside the messages."""
_ALL, _WAREHOUSES = "All", "Warehouses"
_EXAMPLE = '{"All": false, "Warehouses": {"all": true}}'


def integrations(value: object) -> dict[str, Any]:
    """Return a table of destinations. Each is true, false, or a table of options.

    The value may also be JSON text, since the environment and the command line have no tables.

    Raises:
        BadValueError: the value is not such a table, or would have an effect that no user wants
            (Segment docs: Filtering data, Warehouses FAQ).
    """
    refuse_placeholder(value)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadValueError(f"is not JSON: write it like '{_EXAMPLE}'") from None
    if not isinstance(value, Mapping):
        raise BadValueError(f"must be a table of destinations, such as {_EXAMPLE}")
    wrong = [
        (str(key), each) for key, entry in value.items() for each in _problems(str(key), entry)
    ]
    if wrong:
        raise BadKeysError(tuple(wrong))
    try:
        size = len(json.dumps(value, allow_nan=False))
    except (ValueError, TypeError):
        raise BadValueError(
            "may hold only text, numbers, true, false, lists and tables, as in JSON"
        ) from None
    if size > LARGEST_BYTES:
        raise BadValueError(f"is longer than {LARGEST_BYTES} bytes as JSON")
    return dict(value)


def _problems(key: str, entry: object) -> Iterator[str]:
    if key != _ALL and key.lower() == "all":
        yield 'is taken for a destination of that name: for all destinations write "All"'
    elif key != _WAREHOUSES and key.lower() in {"warehouse", "warehouses"}:
        yield 'is taken for a destination of that name: for warehouses write "Warehouses"'
    elif key == _ALL and not isinstance(entry, bool):
        yield "must be true or false"
    elif key == _WAREHOUSES:
        yield from _warehouse_problems(entry)
    elif key != key.strip() or not key:
        yield "must be the name of a destination in Segment's spelling"
    elif not isinstance(entry, bool | Mapping):
        yield "must be true, false, or a table of the destination's options"


def _warehouse_problems(entry: object) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield 'must be {"all": true}, {"all": false} or {"warehouseIds": [...]}, not true or false'
        return
    for name, value in entry.items():
        if name == "all" and not isinstance(value, bool):
            yield "`all` in it must be true or false"
        elif name == "warehouseIds":
            is_list = isinstance(value, list) and all(
                isinstance(each, str) and each for each in value
            )
            if not is_list or not value:
                yield "`warehouseIds` in it must be a list of ids"
        elif name not in {"all", "warehouseIds"}:
            yield f"may hold `all` and `warehouseIds`, but not `{name}`"
