"""The tenant's own daily statistics."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from poller.adapters.auth0.api import ManagementApi
from poller.adapters.auth0.verdicts import SERVICE
from poller.core.errors import UnusableAnswerError
from poller.core.events import DailyCount

_DAY_LENGTH = len("2026-01-31")


class Auth0Stats:
    """Logins and signups by day. Each call makes one attempt.

    The SDK's `stats.get_daily` is not used. It would fetch a token of its own, retry and sleep
    within the call, and know nothing of the rate limit.
    """

    def __init__(self, api: ManagementApi) -> None:
        self._api = api

    def daily(self, first: date, last: date) -> dict[date, DailyCount]:
        """Return the counts of each UTC day from `first` to `last`, both included.

        Auth0 leaves out a day without logins and signups.

        Raises:
            TransientError, UnusableAnswerError: no answer came that can be read.
            FatalError: Auth0 refuses the request, for example if the token lacks read:stats.
        """
        params = {"from": f"{first:%Y%m%d}", "to": f"{last:%Y%m%d}"}
        reply = self._api.get("stats/daily", params, endpoint="stats")
        if not isinstance(reply.value, list):
            raise UnusableAnswerError(
                "Auth0 answered the request for stats with JSON that is not a list", service=SERVICE
            )
        counts = dict(_day(record) for record in reply.value)
        return {day: count for day, count in counts.items() if first <= day <= last}


def _day(record: Any) -> tuple[date, DailyCount]:
    """Return one day's counts.

    Raises:
        UnusableAnswerError: the record cannot be read. It is not taken for a day without events.
    """
    try:
        day = date.fromisoformat(record["date"][:_DAY_LENGTH])
        return day, DailyCount(logins=_number(record, "logins"), signups=_number(record, "signups"))
    except (TypeError, KeyError, ValueError):
        raise UnusableAnswerError(
            "Auth0 answered the request for stats with a record that is not a day's count",
            service=SERVICE,
        ) from None


def _number(record: Mapping[str, Any], name: str) -> int:
    value = record[name]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(name)
    return value
