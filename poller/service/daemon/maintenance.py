"""The maintenance beside the cycles: old rows are deleted, and threats to the position are told."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from poller.core.errors import PollerError
from poller.core.log_ids import LogId, moment_of
from poller.core.spans import Span

MAINTENANCE_INTERVAL_S = 600.0
LAST_SENT_RETENTION = timedelta(days=30)
"""An identify or group call that would say the same as the last one is left out for so long."""
LAST_SENT_LIMIT = 1_000_000
"""Users and memberships whose last call is remembered. Each takes about 100 bytes."""
ACKNOWLEDGED_RETENTION = timedelta(days=60)
"""Acknowledged messages are counted by hour for so long. Segment keeps its counts for 30 days."""
_SAFE_AGE = timedelta(hours=1)
"""A position younger than this is in no danger, since the shortest retention is a day."""

log = structlog.get_logger()


class LogEnds(Protocol):
    """Reads both ends of the log."""

    def oldest_kept(self) -> tuple[LogId | None, datetime]:
        """Return the oldest event kept, and the time of the answer."""
        ...

    def newest_id_in_search(self) -> LogId | None:
        """Return the newest event that the search shows."""
        ...


class MaintenanceLedger(Protocol):
    """The part of a ledger that maintenance needs."""

    def live_span(self) -> Span | None: ...

    def discard_dead_letters(self, before: datetime) -> int: ...

    def forget_last_sent(self, before: datetime, *, keep: int) -> int: ...

    def forget_acknowledged(self, before: datetime) -> int: ...


class Maintenance:
    """Runs every ten minutes, whether or not the cycles in between succeeded.

    `agreed` returns a time that two clocks agree on, or None if no two do. Nothing is deleted on
    the word of one clock. `measured` is called with the measured retention of the log.
    """

    def __init__(
        self,
        ledger: MaintenanceLedger,
        server: LogEnds,
        *,
        agreed: Callable[[], datetime | None],
        dead_letter_retention: timedelta,
        measured: Callable[[timedelta], None] = lambda retention: None,  # noqa: ARG005 - unused
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger = ledger
        self._server = server
        self._agreed = agreed
        self._dead_letter_retention = dead_letter_retention
        self._measured = measured
        self._monotonic = monotonic
        self._now = now
        self._due_at = float("-inf")
        self._retention: timedelta | None = None
        self._warned_with_left: timedelta | None = None
        self._has_warned_of_clocks = False
        self._has_told_of_low_ids = False

    def run_if_due(self) -> None:
        """Run if ten minutes have passed. Call this after each cycle.

        A failure of a service or of the ledger is not raised. The next run comes anyway.
        """
        if self._monotonic() < self._due_at:
            return
        self._due_at = self._monotonic() + MAINTENANCE_INTERVAL_S
        try:
            live = self._ledger.live_span()
            if live is not None:
                self._watch_retention(live)
            self._delete_old_rows()
            if live is not None:
                self._watch_ids(live)
        except PollerError as error:
            log.debug("maintenance.failed", reason=str(error))

    def _delete_old_rows(self) -> None:
        now = self._agreed()
        if now is not None:
            self._has_warned_of_clocks = False
            self._ledger.forget_last_sent(now - LAST_SENT_RETENTION, keep=LAST_SENT_LIMIT)
            self._ledger.forget_acknowledged(now - ACKNOWLEDGED_RETENTION)
            if self._dead_letter_retention:
                self._discard_dead_letters(now)
        elif not self._has_warned_of_clocks:
            self._has_warned_of_clocks = True
            log.warning(
                "clocks.disagreed",
                host=self._now().isoformat(timespec="seconds"),
                note="no two clocks of this host, Auth0 and Segment agree: nothing old is "
                "discarded until they do; compare them with the command check",
            )

    def _discard_dead_letters(self, now: datetime) -> None:
        count = self._ledger.discard_dead_letters(now - self._dead_letter_retention)
        if count:
            log.warning(
                "dead_letters.discarded",
                count=count,
                older_than_s=self._dead_letter_retention.total_seconds(),
            )

    def _watch_retention(self, live: Span) -> None:
        """Warn when the position comes near the end of what the tenant keeps.

        The first warning comes when half of the retention is over. Each later warning comes when
        half of the time is over that was left at the warning before.
        """
        now = self._measure_retention()
        moments = (live.drained_at, moment_of(live.reached))
        seen_at = max((moment for moment in moments if moment is not None), default=now)
        age = now - seen_at
        if self._retention is None or age < _SAFE_AGE or 2 * age < self._retention:
            self._warned_with_left = None
            return
        left = max(self._retention - age, timedelta(0))
        if self._warned_with_left is None or 2 * left <= self._warned_with_left:
            self._warned_with_left = left
            log.warning(
                "retention.near",
                behind_s=round(age.total_seconds()),
                left_s=round(left.total_seconds()),
                note="the tenant's log drops what is not read by then",
            )

    def _measure_retention(self) -> datetime:
        """Measure how far back the log goes, and return the server's time.

        If the server does not answer, return the time of this host.
        """
        try:
            oldest, now = self._server.oldest_kept()
        except PollerError:
            return self._now()
        kept_since = moment_of(oldest) if oldest else None
        if kept_since is not None:
            self._retention = now - kept_since
            self._measured(self._retention)
        return now

    def _watch_ids(self, live: Span) -> None:
        """Tell once if the newest event of the log sorts below the position.

        Such an event is never read. ObjectIds are an example: they hold no time, and sort below a
        position of today's form.
        """
        if self._has_told_of_low_ids:
            return
        newest = self._server.newest_id_in_search()
        if newest is None or newest >= live.reached or moment_of(newest) is not None:
            return
        self._has_told_of_low_ids = True
        log.error(
            "log.ids_below_position",
            newest=newest,
            position=live.reached,
            note="the tenant's newest log event sorts below the position, "
            "so that new events are never read",
            hint="stop the daemon, and begin the stream anew with "
            "`ledger remove-stream --with-spans` and `run`",
        )
