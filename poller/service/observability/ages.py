"""The ages of the log, as a scrape computes them: freshness, lag, position and backlog.

Ages grow while nothing happens. So the meter keeps moments, and a scrape subtracts them from the
tenant's time. Freshness and lag differ while a backlog is left: freshness looks at new events
alone, and lag at all that is not settled yet.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from poller.core.forward import Forwarded
from poller.core.log_ids import moment_of
from poller.core.spans import Span
from poller.service.lifecycle.backlog import NO_BACKLOG, Backlog


class LogAges:
    """The moments up to which the log is settled, drained and confirmed. Thread-safe.

    Only one thread moves the live span.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._monotonic = monotonic
        self._now = now
        self._server_time: tuple[datetime, float] | None = None
        self._caught_up_at: datetime | None = None
        self._position_at: datetime | None = None
        self.confirmed_at: datetime | None = None
        self.retention: timedelta | None = None
        self.look_at_backlog: Callable[[], Backlog] = lambda: NO_BACKLOG

    def start_at(self, live: Span) -> None:
        """Begin with what the ledger knows of the live span."""
        self._caught_up_at = self._position_at = _position_at(live)

    def note_time(self, served_at: datetime) -> None:
        """Note the tenant's time, which has just been told."""
        self._server_time = (served_at, self._monotonic())

    def move(self, forwarded: Forwarded) -> None:
        """Note how far the live span is settled. No other page moves its position."""
        span, page = forwarded.cursor, forwarded.settlement.page
        if not isinstance(span, Span) or not span.is_live:
            return
        if page.drained_to is not None:
            self._caught_up_at = self._position_at = page.drained_to
            return
        self._position_at = _position_at(span)
        newest = max((event.date for event in page.events if event.date is not None), default=None)
        # An event that is dated after its own arrival shows a wrong clock. Its age is not negative.
        settled_to = min(_known(newest, moment_of(span.reached)), default=None)
        self._caught_up_at = max(_known(settled_to, span.drained_at), default=None)

    def server_now(self) -> datetime:
        """Return the tenant's time. A wrong clock of this host does not distort the lag.

        Before the first page it is the time of this host.
        """
        if self._server_time is None:
            return self._now()
        served_at, seen_at = self._server_time
        return served_at + timedelta(seconds=self._monotonic() - seen_at)

    def freshness_s(self) -> float | None:
        """Return how long ago all new events were settled, by event time, in seconds.

        A backlog does not count. A quiet tenant is not late: the end of the log counts as settled
        when it was last seen.
        """
        return _seconds(self.server_now(), self._caught_up_at)

    def values(self) -> dict[str, float | None]:
        """Return the values of the metrics by name, all of one moment. None means not known."""
        backlog, now = self.look_at_backlog(), self.server_now()
        return {
            "lag_seconds": _seconds(now, _earlier(self._caught_up_at, backlog.oldest)),
            "freshness_seconds": _seconds(now, self._caught_up_at),
            "position_age_seconds": _seconds(now, _earlier(self._position_at, backlog.oldest)),
            "second_reading_lag_seconds": _seconds(now, self.confirmed_at) or 0.0,
            "retention_seconds": self.retention.total_seconds() if self.retention else None,
            "backlog_seconds": backlog.time_left.total_seconds(),
            "backlog_pages": backlog.pages_left,
            "catch_up_slices": float(backlog.slices_left),
        }


def _position_at(span: Span) -> datetime | None:
    return max(_known(span.drained_at, moment_of(span.reached)), default=None)


def _seconds(now: datetime, moment: datetime | None) -> float | None:
    """Return the seconds since a moment, or None if the moment is not known."""
    if moment is None:
        return None
    return max((now - moment).total_seconds(), 0.0)


def _earlier(moment: datetime | None, other: datetime | None) -> datetime | None:
    return min(_known(moment, other), default=None)


def _known(*moments: datetime | None) -> list[datetime]:
    return [moment for moment in moments if moment is not None]
