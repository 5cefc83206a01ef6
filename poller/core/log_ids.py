"""The order of log ids, the time inside a log id, and the bound for a moment."""

from datetime import UTC, datetime
from typing import NewType

LogId = NewType("LogId", str)
"""Opaque text that is ordered as text.

All ids recorded from 2018 to 2025 have 56 digits: `900`, then the UTC time of ingest, then a tail.
"""

_PREFIX = "900"
_TIME_DIGITS = 14
_MILLISECOND_DIGITS = 3
_TAIL_ZEROS = 39
_LONGEST_NUMBER = 1000
"""The most digits of an id that is read as a number.

Python refuses to read a number of more than 4,300 digits.
"""

EARLIEST = LogId(_PREFIX + "0" * (_TIME_DIGITS + _TAIL_ZEROS))
"""A bound below every event that a tenant can have kept."""


def floor_id(moment: datetime) -> LogId:
    """Return the bound below every log id that was ingested at `moment` or later.

    No event has such an id. The API takes any id as a lower bound, whether or not it exists:
    Elastic's Auth0 collector starts from a computed id too.
    """
    return LogId(f"{_PREFIX}{moment.astimezone(UTC):%Y%m%d%H%M%S}{'0' * _TAIL_ZEROS}")


def moment_of(log_id: str) -> datetime | None:
    """Return the time of ingest inside a log id, to the millisecond.

    Ids without a readable time return None. Auth0 wrote such ids before mid-2018.
    """
    digits = log_id[len(_PREFIX) : len(_PREFIX) + _TIME_DIGITS + _MILLISECOND_DIGITS]
    if len(digits) < _TIME_DIGITS + _MILLISECOND_DIGITS or not log_id.startswith(_PREFIX):
        return None
    if not (digits.isascii() and digits.isdigit()):
        return None
    date, time, milliseconds = digits[:8], digits[8:_TIME_DIGITS], digits[_TIME_DIGITS:]
    try:
        return datetime.fromisoformat(f"{date}T{time}.{milliseconds}+00:00")
    except ValueError:
        return None


def predecessor(log_id: LogId) -> LogId | None:
    """Return the id one below, of the same length, or None if the id is not a positive number."""
    if not _is_number(log_id) or int(log_id) == 0:
        return None
    return LogId(str(int(log_id) - 1).zfill(len(log_id)))


def successor(log_id: LogId) -> LogId:
    """Return an id above this one and below any other id that can be above it."""
    if not _is_number(log_id):
        return LogId(f"{log_id}\0")
    return LogId(str(int(log_id) + 1).zfill(len(log_id)))


def just_below(log_id: LogId) -> LogId:
    """Return a bound below this id, and above every lower id that can still be in the log."""
    return predecessor(log_id) or LogId(log_id[:-1])


def _is_number(log_id: LogId) -> bool:
    return len(log_id) <= _LONGEST_NUMBER and log_id.isascii() and log_id.isdigit()
