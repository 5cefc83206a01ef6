"""Times and durations from outside: none of them can end the process."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from poller.adapters.parsing import (
    LONGEST_LIFETIME,
    LONGEST_RETRY_AFTER,
    YEARS,
    parse_http_date,
    parse_lifetime,
    parse_retry_after,
)

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
HOSTILE_DATES = [
    "Fri, 31 Dec 9999 23:59:59 -1200",
    "Mon, 23 Nov 20261123202611232026 10:00:00 GMT",
    "Mon, 23 Nov " + "2" * 5000 + " 10:00:00 GMT",
    "Mon, 23 Nov 2026 10:00:00 +99999999999999",
    "Mon, 23 Nov 2026 10:00:61 GMT",
    "Mon, 40 Nov 2026 10:00:00 GMT",
    ",",
]


@pytest.mark.parametrize("text", [None, "", "soon", *HOSTILE_DATES])
def test_a_date_that_is_none_or_that_would_overflow_is_none(text: str | None) -> None:
    assert parse_http_date(text) is None


def test_a_date_of_http_is_read_in_utc() -> None:
    assert parse_http_date("Mon, 23 Nov 2026 10:00:00 GMT") == NOW
    assert parse_http_date("Mon, 23 Nov 2026 12:00:00 +0200") == NOW
    assert parse_http_date("Mon, 23 Nov 2026 10:00:00 -0000") == NOW


@given(
    st.text(max_size=80)
    | st.from_regex(r"[A-Z][a-z]{2}, \d\d? [A-Z][a-z]{2} \d{1,12} \d+:\d+:\d+ [+-]\d{4,12}")
)
@example("Thu, 01 Jan 1970 00:00:00 +0100")
def test_arithmetic_works_with_every_date_that_is_parsed(text: str) -> None:
    date = parse_http_date(text)
    if date is not None:
        assert date.tzinfo is UTC
        assert date.year in YEARS
        assert date - timedelta(days=300) < date + timedelta(days=300)
    wait = parse_retry_after(text, now=NOW)
    assert wait is None or timedelta() <= wait <= LONGEST_RETRY_AFTER


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", timedelta(seconds=7)),
        ("0", timedelta()),
        ("0000000000000000000005", timedelta(seconds=5)),
        ("Mon, 23 Nov 2026 10:00:30 GMT", timedelta(seconds=30)),
        ("Mon, 23 Nov 2026 09:00:00 GMT", timedelta()),
        ("99999999999", LONGEST_RETRY_AFTER),
        ("9" * 500, LONGEST_RETRY_AFTER),
        ("9" * 5000, LONGEST_RETRY_AFTER),
        ("Fri, 31 Dec 9998 23:59:59 GMT", LONGEST_RETRY_AFTER),
        ("soon", None),
        ("-5", None),
        ("\u0665", None),
        ("", None),
        (None, None),
        *((date, None) for date in HOSTILE_DATES),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date_and_garbage_is_none(
    text: str | None, expected: timedelta | None
) -> None:
    assert parse_retry_after(text, now=NOW) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("86400", timedelta(days=1)),
        ("86400.5", timedelta(days=1, seconds=0.5)),
        ('"86400"', timedelta(days=1)),
        ("1e300", LONGEST_LIFETIME),
        ("Infinity", LONGEST_LIFETIME),
        ("9" * 500, LONGEST_LIFETIME),
        *(
            (text, None)
            for text in (
                "NaN",
                "-Infinity",
                "0",
                "-1",
                "null",
                "true",
                "[]",
                '""',
                '"soon"',
                '"1e9"',
            )
        ),
        (f'"{"9" * 500}"', None),
    ],
)
def test_a_lifetime_is_a_number_or_its_text_and_garbage_is_none(
    text: str, expected: timedelta | None
) -> None:
    assert parse_lifetime(json.loads(text)) == expected
