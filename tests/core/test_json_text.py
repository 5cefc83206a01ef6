"""The stored JSON of a record parses to the record that came, digit for digit."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.config.parsers.expressions import JmesPath
from poller.core.text.json_text import MAX_DEPTH, decode, decode_of_any_depth, encode, is_too_deep

ODD_NUMBERS = [
    "1e400",
    "-1E+400",
    "1e-400",
    "-0",
    "-0.0",
    "1.50",
    "1E5",
    "0.1000000000000000055511151231257827021181583404541015625",
    "9007199254740993",
    "123456789012345678901234567890",
    "9" * 5000,
]
DIGITS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?", fullmatch=True
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@pytest.mark.parametrize("digits", ODD_NUMBERS)
def test_a_number_keeps_its_digits(digits: str) -> None:
    assert encode(decode(digits)) == digits
    assert encode(decode(f'{{"a": [{digits}]}}')) == f'{{"a": [{digits}]}}'


@given(DIGITS)
def test_any_number_keeps_its_digits(digits: str) -> None:
    assert encode(decode(digits)) == digits


@given(VALUES, st.sampled_from([0, 2]))
def test_the_encoder_writes_the_same_text_as_the_standard_library(value: Any, indent: int) -> None:
    assert encode(value, indent=indent) == json.dumps(value, indent=indent or None)
    assert encode(value, is_sorted=True) == json.dumps(value, sort_keys=True)
    assert decode(encode(value)) == value


def test_lone_surrogates_and_controls_come_back() -> None:
    text = "\ud800 \udcff \x1b \x7f \u202e \U0001f600"
    assert decode(encode({text: text})) == {text: text}
    assert encode(text).isascii()


def test_of_two_equal_keys_the_last_one_is_read_and_kept() -> None:
    read = decode('{"a": 1e400, "a": 2.50}')
    assert encode(read) == '{"a": 2.50}'


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, object, 10**5000, {1: {2}}], ids=range(6)
)
def test_values_that_json_lacks_become_text(value: object) -> None:
    json.loads(encode(value), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_value_that_is_nested_too_deep_is_an_error() -> None:
    decode("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    for levels in (MAX_DEPTH + 1, 100_000):
        with pytest.raises(ValueError, match="too deep"):
            decode("[" * levels + "]" * levels)


@given(VALUES)
def test_a_value_of_any_depth_is_read_like_any_other(value: Any) -> None:
    text = encode(value)
    assert encode(decode_of_any_depth(text)) == encode(decode(text))


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 900, 100_000])
@pytest.mark.parametrize(
    ("opening", "closing"), [("[", "]"), ('{"]\\"}": ', "}"), ("[1, [], ", "]")]
)
def test_too_deep_nesting_is_found_after_reading(levels: int, opening: str, closing: str) -> None:
    inner = opening * levels + "0" + closing * levels
    before, deep, after = decode_of_any_depth(f'["]", {inner}, {{"a": [1]}}]')
    assert (before, after) == ("]", {"a": [1]})
    assert is_too_deep(deep)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 100_000 + '"' + '\\"' * 1_000_000,
        "[" * 100_000 + "]" * 99_999,
        "]" * 100_000,
    ],
)
def test_deep_text_that_is_no_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json raises several of its kinds
        decode_of_any_depth(text)


@pytest.mark.parametrize("digits", ["1.50", "-0", "1e2"])
def test_expressions_take_a_number_for_a_number(digits: str) -> None:
    log = decode(f'{{"n": {digits}}}')
    assert JmesPath("type(log.n)").of(None, log) == "number"
    assert JmesPath("abs(log.n)").of(None, log) == abs(float(digits))
    assert JmesPath("log.n == `{0}`".replace("{0}", digits)).of(None, log) is True
