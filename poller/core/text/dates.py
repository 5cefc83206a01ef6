"""Dates as records hold them, and the rules by which a date is believed."""

import math
from datetime import UTC, datetime, timedelta

OLDEST_PLAUSIBLE = datetime(2013, 1, 1, tzinfo=UTC)
"""Auth0 began in 2013, so nothing that it logged is older."""
TOLERANCE = timedelta(days=2)
"""The most that a believed date may differ from a clock, or from the time in its log id."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_IN = ((10**11, 1_000_000), (10**14, 1_000), (10**17, 1))
"""Bounds of numbers that are seconds, milliseconds or microseconds. Each bound is the year 5138."""
_DATE_DIGITS = 8
"""Longer text of digits alone is a number: `20240311` is a date, `1710152430` is not."""
_WRAPPINGS = ("$date", "$numberLong")
"""MongoDB's JSON has dates as `{"$date": …}`, and numbers in them as `{"$numberLong": "…"}`."""


def parse_date(value: object) -> datetime | None:
    """Return an aware UTC datetime from a date in any known form, or None.

    ISO 8601 text stands in every recording. A number is seconds, milliseconds or microseconds since
    1970, by its magnitude.
    """
    if isinstance(value, dict):
        value = _unwrapped(value)
    try:
        if isinstance(value, str):
            return _from_text(value.strip())
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _from_number(value)
    except (ValueError, OverflowError):
        pass
    return None


def iso(moment: datetime) -> str:
    """Return the moment in the form of Auth0 and Segment: ISO 8601, UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_plausible(moment: datetime, *, now: datetime | None = None) -> bool:
    """Return whether a date of Auth0's can be true.

    `now` is a time that two clocks agree on, or None.
    """
    return moment >= OLDEST_PLAUSIBLE and (now is None or moment - now <= TOLERANCE)


def believed_date(
    date: datetime | None, *, id_time: datetime | None, now: datetime | None = None
) -> datetime | None:
    """Return the date, or the time in the log id if the date cannot be true, or None.

    A date is believed if it is plausible and at most two days from the time in the log id. The
    log id's own time has to be plausible too. `now` is a time that two clocks agree on, or None.
    """
    if id_time is not None and not is_plausible(id_time, now=now):
        id_time = None
    if date is None or not is_plausible(date, now=now):
        return id_time
    if id_time is not None and abs(date - id_time) > TOLERANCE:
        return id_time
    return date


def _unwrapped(value: object) -> object:
    for key in _WRAPPINGS:
        if isinstance(value, dict) and key in value:
            value = value[key]
    return value


def _from_text(text: str) -> datetime | None:
    if len(text) > _DATE_DIGITS and text.isascii() and text.isdigit():
        return _from_number(int(text))
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC)


def _from_number(number: float) -> datetime | None:
    if not math.isfinite(number):
        return None
    for bound, microseconds in _MICROSECONDS_IN:
        if abs(number) < bound:
            return _EPOCH + timedelta(microseconds=round(number * microseconds))
    return None
