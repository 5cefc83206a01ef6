"""Durations and moments, as people write them in settings."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

from poller.config.errors import BadValueError
from poller.config.parsers.texts import refuse_placeholder

# Nine digits are all that a timedelta holds, in days.
_DURATION = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    _DATE.pattern + r"[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_OLDEST_YEAR = 1970
_SHORTEST_INTERVAL = timedelta(seconds=1)
_LONGEST_LENGTH = timedelta(days=3650)
_LONGEST_LATE_WINDOW = timedelta(minutes=50)
_LONGEST_INTERVAL = timedelta(days=30)  # the longest that any plan of Auth0 keeps its log


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAt:
    """Where a first start begins; a datetime is aware, in UTC."""

    at: Literal["now", "earliest"] | datetime

    @property
    def is_now(self) -> bool:
        return self.at == "now"

    @property
    def is_earliest(self) -> bool:
        return self.at == "earliest"

    @property
    def moment(self) -> datetime | None:
        return self.at if isinstance(self.at, datetime) else None


def parse_duration(text: object) -> timedelta:
    """A length of time from text as `30s`, `5m`, `1h`, `7d` or, the largest unit first, `1h30m`.

    Raises:
        BadValueError: a ValueError whose text does not hold the value.
    """
    if not isinstance(text, str):
        raise BadValueError('must be a duration in quotes, with its unit, as "30s"')
    match = _DURATION.fullmatch(text)
    if text.isdigit():
        raise BadValueError("needs its unit, as 30s, 5m or 1h")
    if not text or match is None:
        raise BadValueError("must be a duration as 30s, 5m, 1h, 7d or 1h30m")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    try:
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise BadValueError("is too long a duration") from None


def length(value: object) -> timedelta:
    """A duration that may be nothing at all.

    Raises:
        BadValueError: not a duration, or over ten years.
    """
    refuse_placeholder(value)
    found = parse_duration(value)
    if found > _LONGEST_LENGTH:
        raise BadValueError("must be at most 3650d")
    return found


def late_window(value: object) -> timedelta:
    """Return how far behind the log is read a second time.

    The shortest retention of Auth0 is a day, of which 23 hours are relied on (Auth0 docs: Log Data
    Retention). The window has to be shorter than the hour between.

    Raises:
        BadValueError: not a duration, or over 50m.
    """
    found = length(value)
    if found > _LONGEST_LATE_WINDOW:
        raise BadValueError("must be at most 50m")
    return found


def interval(value: object) -> timedelta:
    """A duration between polls.

    Raises:
        BadValueError: not a duration, under 1s or over 30d.
    """
    refuse_placeholder(value)
    found = parse_duration(value)
    if not _SHORTEST_INTERVAL <= found <= _LONGEST_INTERVAL:
        raise BadValueError("must be at least 1s and at most 30d")
    return found


def start_at(value: object) -> StartAt:
    """`now`, `earliest`, or a moment.

    Raises:
        BadValueError: none of these, or a time without a zone.
    """
    if isinstance(value, StartAt):
        return value
    if value == "now" or value == "earliest":  # noqa: PLR1714 -- mypy narrows a Literal by ==, not by `in`
        return StartAt(at=value)
    refuse_placeholder(value)
    return StartAt(at=parse_moment(value))


def parse_moment(value: object) -> datetime:
    """An aware UTC datetime from a date (its first moment in UTC) or an RFC 3339 time, as text or as TOML has them.

    Raises:
        BadValueError: neither, no such day or time, no zone, or before 1970.
    """
    found = _parsed(value) if isinstance(value, str) else value
    if isinstance(found, datetime):
        if found.tzinfo is None:
            raise BadValueError("is a time without a zone: add Z for UTC, or one as +02:00")
        return _utc(found)
    if isinstance(found, date):
        return _utc(datetime.combine(found, time(), UTC))
    raise BadValueError(
        "must be now, earliest, a date as 2025-01-31, or a time as 2025-01-31T08:00:00Z"
    )


def _parsed(text: str) -> date | datetime | None:
    text = text.upper()  # RFC 3339 allows t and z
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        raise BadValueError("is a day or a time that does not exist") from None
    return None


def _utc(found: datetime) -> datetime:
    try:
        inside = found.astimezone(UTC)
    except OverflowError:
        raise BadValueError("is a time out of range") from None
    if inside.year < _OLDEST_YEAR:
        raise BadValueError("is before 1970: use earliest for all that is kept")
    return inside
