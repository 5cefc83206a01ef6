"""What a service looks after beside its work: dead letters that are old, and a position that retention comes near."""

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
"""For so long an identify or a group call that would say the same is left out."""
LAST_SENT_LIMIT = 1_000_000
"""People and memberships remembered; about 100 bytes each."""
_FRESH = timedelta(hours=1)
"""A position younger than this is in no danger: the shortest retention is a day."""

log = structlog.get_logger()


class LogEnds(Protocol):
    """Reads both ends of the log."""

    def oldest(self) -> tuple[LogId | None, datetime]:
        """Return the oldest event kept, and the time of the answer."""
        ...

    def latest(self) -> LogId | None:
        """Return the newest event that the search shows."""
        ...


class MaintenanceLedger(Protocol):
    """What upkeep needs of the ledger."""

    def live_span(self) -> Span | None: ...

    def discard_dead_letters(self, before: datetime) -> int: ...

    def forget_last_sent(self, before: datetime, *, keep: int) -> int: ...


class Maintenance:
    """Looks every ten minutes, whatever became of the cycles between.

    `agreed` is the time that two clocks agree on, None where no two do: nothing is deleted on the word of one clock.
    """

    def __init__(
        self,
        ledger: MaintenanceLedger,
        server: LogEnds,
        *,
        agreed: Callable[[], datetime | None],
        dead_letter_retention: timedelta,
        measured: Callable[[timedelta], None] = lambda retention: None,  # noqa: ARG005 - nobody looks
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
        self._warned_of: timedelta | None = None
        self._is_unsure = False
        self._is_told_of_low_ids = False

    def look(self) -> None:
        """To be called after each cycle; never raises what a service or the ledger may fail by."""
        if self._monotonic() < self._due_at:
            return
        self._due_at = self._monotonic() + MAINTENANCE_INTERVAL_S
        try:
            live = self._ledger.live_span()
            if live is not None:
                self._watch_retention(live)
            self._discard_what_is_old()
            if live is not None:
                self._watch_ids(live)
        except PollerError as error:
            log.debug("upkeep.failed", reason=str(error))

    def _discard_what_is_old(self) -> None:
        now = self._agreed()
        if now is not None:
            self._ledger.forget_last_sent(now - LAST_SENT_RETENTION, keep=LAST_SENT_LIMIT)
            if self._dead_letter_retention:
                self._discard_dead_letters(now)
        elif not self._is_unsure:
            log.warning(
                "clocks.disagreed",
                host=self._now().isoformat(timespec="seconds"),
                note="no two clocks of this host, Auth0 and Segment agree: nothing old is discarded until they do; "
                "compare them with the command check",
            )
        self._is_unsure = now is None

    def _discard_dead_letters(self, now: datetime) -> None:
        gone = self._ledger.discard_dead_letters(now - self._dead_letter_retention)
        if gone:
            log.warning(
                "dead_letters.discarded",
                count=gone,
                older_than_s=self._dead_letter_retention.total_seconds(),
            )

    def _watch_retention(self, live: Span) -> None:
        """Warns when half of the time is over that the tenant keeps what is ahead, then at half of the rest."""
        now = self._measure()
        seen = [
            moment for moment in (live.drained_at, moment_of(live.reached)) if moment is not None
        ]
        age = now - max(seen) if seen else timedelta(0)
        if self._retention is None or age < _FRESH or 2 * age < self._retention:
            self._warned_of = None
            return
        left = max(self._retention - age, timedelta(0))
        if self._warned_of is None or 2 * left <= self._warned_of:
            self._warned_of = left
            log.warning(
                "retention.near",
                behind_s=round(age.total_seconds()),
                left_s=round(left.total_seconds()),
                note="the tenant's log drops what is not read by then",
            )

    def _watch_ids(self, live: Span) -> None:
        """Say once that the newest event of the log sorts below the position, and is never read.

        So it is with ids that hold no time, as ObjectIds: they sort below a position of today's form.
        """
        if self._is_told_of_low_ids:
            return
        newest = self._server.latest()
        if newest is None or newest >= live.reached or moment_of(newest) is not None:
            return
        self._is_told_of_low_ids = True
        log.error(
            "log.ids_below_position",
            newest=newest,
            position=live.reached,
            note="the tenant's newest log event sorts below the position, so that new events are never read",
            hint="stop the daemon, and begin the stream anew with `ledger remove-stream --with-spans` and `run`",
        )

    def _measure(self) -> datetime:
        """The server's time, and along the way how far back its log goes; the host's time where it does not answer."""
        try:
            oldest, now = self._server.oldest()
        except PollerError:
            return self._now()
        kept_since = moment_of(oldest) if oldest else None
        if kept_since is not None:
            self._retention = now - kept_since
            self._measured(self._retention)
        return now
