"""Mistakes in `integrations`, which Segment would accept with a 200, are errors of the settings."""

from typing import Any

import pytest

from poller.config.destinations import LARGEST_BYTES, integrations
from poller.config.errors import BadKeysError, BadValueError


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"All": False},
        {"All": False, "Warehouses": {"all": True}},
        {"All": True, "Warehouses": {"all": False}},
        {"All": False, "Warehouses": {"warehouseIds": ["a", "b"]}},
        {"All": False, "Amplitude": {"session_id": 1}, "Google Analytics": True},
    ],
)
def test_every_form_that_segment_documents_is_taken_unchanged(value: dict[str, Any]) -> None:
    assert integrations(value) == value


def test_json_text_is_taken_too() -> None:
    assert integrations('{"All": false}') == {"All": False}


@pytest.mark.parametrize(
    ("key", "entry", "said"),
    [
        ("all", False, '"All"'),
        ("ALL", False, '"All"'),
        ("All", "false", "true or false"),
        ("All", {"x": 1}, "true or false"),
        ("Warehouse", True, '"Warehouses"'),
        ("warehouses", {"all": True}, '"Warehouses"'),
        ("Warehouses", True, '{"all": true}'),
        ("Warehouses", {"All": True}, "not `All`"),
        ("Warehouses", {"all": "yes"}, "`all`"),
        ("Warehouses", {"warehouseIds": "a"}, "list of ids"),
        ("Warehouses", {"warehouseIds": []}, "list of ids"),
        (" Amplitude", True, "in Segment's spelling"),
        ("", True, "in Segment's spelling"),
        ("Amplitude", "true", "true, false, or a table"),
        ("Amplitude", None, "true, false, or a table"),
    ],
)
def test_a_known_mistake_is_named_by_its_key(key: str, entry: object, said: str) -> None:
    with pytest.raises(BadKeysError) as error:
        integrations({"All": True, key: entry} if key != "All" else {key: entry})
    assert [name for name, _ in error.value.wrong] == [key]
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "table of destinations"),
        (7, "table of destinations"),
        ({"Amplitude": {"x": float("nan")}}, "as in JSON"),
        ({"Amplitude": {"x": "y" * LARGEST_BYTES}}, "longer than"),
        ("...", "placeholder"),
    ],
)
def test_a_value_that_is_not_a_table_is_refused(value: object, said: str) -> None:
    with pytest.raises(BadValueError, match=said):
        integrations(value)
