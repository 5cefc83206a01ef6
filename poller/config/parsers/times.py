"""Durations and moments in the forms that people write in settings and options."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from poller.config.errors import BadValueError

Start = Literal["now", "earliest"] | datetime
"""The place in the log where the first run begins. A moment is aware, in UTC."""

# A timedelta holds at most nine digits of days.
_DURATION = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    _DATE.pattern + r"[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_OLDEST_YEAR = 1970


def parse_duration(value: object) -> timedelta:
    """Return a length of time from text such as `30s`, `5m`, `1h`, `7d` or `1h30m`.

    The largest unit comes first.

    Raises:
        BadValueError: the value is not such a text.
    """
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise BadValueError('must be a duration in quotes, with its unit, such as "30s"')
    match = _DURATION.fullmatch(value)
    if value.isdigit():
        raise BadValueError("needs a unit, such as 30s, 5m or 1h")
    if not value or match is None:
        raise BadValueError("must be a duration such as 30s, 5m, 1h, 7d or 1h30m")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    try:
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise BadValueError("is too long a duration") from None


def parse_duration_or_off(value: object) -> timedelta | None:
    """Return a length of time, or None for `off`.

    Raises:
        BadValueError: the value is neither.
    """
    if value is None or value == "off":
        return None
    return parse_duration(value)


def parse_start(value: object) -> Start:
    """Return `now`, `earliest`, or a moment.

    Raises:
        BadValueError: the value is none of these.
    """
    match value:
        case "now":
            return "now"
        case "earliest":
            return "earliest"
        case _:
            return parse_moment(value)


def parse_moment(value: object) -> datetime:
    """Return an aware datetime in UTC from a date or an RFC 3339 time.

    A date stands for its first moment in UTC. TOML has its own dates and times, so the value may be
    text, a date or a datetime.

    Raises:
        BadValueError: the value is none of these, the day or time does not exist, the time has no
            zone, or it lies before 1970.
    """
    moment = _parse_text(value) if isinstance(value, str) else value
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise BadValueError("is a time without a zone: add Z for UTC, or a zone such as +02:00")
        return _to_utc(moment)
    if isinstance(moment, date):
        return _to_utc(datetime.combine(moment, time(), UTC))
    raise BadValueError(
        "must be now, earliest, a date such as 2025-01-31, or a time such as 2025-01-31T08:00:00Z"
    )


def _parse_text(text: str) -> date | datetime | None:
    text = text.upper()  # RFC 3339 allows t and z.
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        raise BadValueError("is a day or a time that does not exist") from None
    return None


def _to_utc(moment: datetime) -> datetime:
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise BadValueError("is a time out of range") from None
    if moment.year < _OLDEST_YEAR:
        raise BadValueError("is before 1970: write earliest for everything that is kept")
    return moment
