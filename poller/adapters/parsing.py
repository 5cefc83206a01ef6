"""Readers of the times and durations that a server sends.

They accept any text, and return None instead of raising an error. Their values never overflow in
later arithmetic.
"""

import math
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST_DATE = 64
"""Characters. A date of HTTP has 29."""
YEARS = range(1970, 9999)
"""The years that are accepted.

Near the ends of the calendar, arithmetic with time zones and margins overflows.
"""
LONGEST_RETRY_AFTER = timedelta(minutes=10)
LONGEST_LIFETIME = timedelta(days=30)
"""Auth0 issues tokens for at most 30 days."""
_MOST_DIGITS = 15


def parse_http_date(text: str | None) -> datetime | None:
    """Return the time in UTC, or None if the text is not a date of a year in `YEARS`."""
    if not text or len(text) > LONGEST_DATE:
        return None
    try:
        date = parsedate_to_datetime(text)
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return date if date.year in YEARS else None


def parse_retry_after(text: str | None, *, now: datetime) -> timedelta | None:
    """Return the wait that a Retry-After asks for, from 0 s to `LONGEST_RETRY_AFTER`.

    The header holds seconds or a date. Anything else gives None.
    """
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        digits = text.lstrip("0") or "0"
        if len(digits) > _MOST_DIGITS:
            return LONGEST_RETRY_AFTER
        return min(_seconds(int(digits)), LONGEST_RETRY_AFTER)
    date = parse_http_date(text)
    if date is None:
        return None
    return min(max(date - now, timedelta()), LONGEST_RETRY_AFTER)


def parse_lifetime(value: object) -> timedelta | None:
    """Return the lifetime that an `expires_in` states, above 0 s and up to `LONGEST_LIFETIME`.

    The standard asks for a number (RFC 6749, 5.1). A number as text is accepted too. Anything else
    gives None.
    """
    if (
        isinstance(value, str)
        and len(value) <= _MOST_DIGITS
        and value.isascii()
        and value.isdigit()
    ):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    is_long = value == math.inf or value >= LONGEST_LIFETIME.total_seconds()
    return LONGEST_LIFETIME if is_long else _seconds(value)


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=min(value, LONGEST_LIFETIME.total_seconds()))
