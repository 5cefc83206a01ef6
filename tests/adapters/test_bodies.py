"""JSON from outside: bounded in values and in depth before anything is made of it."""

import json
import tracemalloc

import pytest

from poller.adapters.bodies import MAX_BODY_BYTES, MAX_VALUES, parse_json
from poller.core.text.json_text import MAX_DEPTH


def test_a_body_of_countless_small_values_is_refused_before_it_takes_memory() -> None:
    body = b"[" + b"[]," * (MAX_BODY_BYTES // 3 - 1) + b"[]]"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="too many values"):
            parse_json(body)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_the_largest_allowed_number_of_values_fits_into_bounded_memory() -> None:
    pieces = MAX_VALUES // 2 - 1
    body = b"[" + b",".join([b'{"":0}'] * pieces) + b"]"  # no value takes more memory
    tracemalloc.start()
    try:
        assert len(parse_json(body)) == pieces
        assert tracemalloc.get_traced_memory()[1] < 300_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded(opening: str, closing: str) -> None:
    def nested(levels: int) -> bytes:
        return (opening * levels + "0" + closing * levels).encode()

    assert parse_json(nested(MAX_DEPTH)) == json.loads(nested(MAX_DEPTH))
    for levels in (MAX_DEPTH + 1, 900, 100_000):
        with pytest.raises(ValueError, match="nested too deep"):
            parse_json(nested(levels))


@pytest.mark.parametrize("body", [b"", b"<html>", b'[{"log_id": "9', b"\xff\xfe\x00"])
def test_a_body_that_is_not_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json raises several of its kinds
        parse_json(body)
