"""The report of `verify`, from which JSON and text are rendered."""

from dataclasses import dataclass
from datetime import datetime

from poller.core.events import Stream
from poller.core.log_ids import moment_of
from poller.core.spans import LogRange
from poller.service.verify.daily import Day, Verdict
from poller.service.verify.hourly import Recount


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """The result of one comparison."""

    ledger: str
    """The URL of the ledger."""
    stream: Stream
    now: datetime
    """The server's time of the comparison."""
    settled: tuple[LogRange, ...]
    """Everything that is settled, oldest first."""
    days: tuple[Day, ...]
    """The verdicts, oldest first. None, if nothing of the range is settled."""
    recount: Recount | None
    """The result of `--exact`."""

    @property
    def settled_from(self) -> datetime | None:
        """The time from which the log is settled."""
        return moment_of(self.settled[0].after) if self.settled else None

    @property
    def differs(self) -> bool:
        return any(day.verdict is Verdict.DIFFERS for day in self.days)

    def hours_that_differ(self, day: Day) -> int:
        """Return the number of hours of a day that differ from the log."""
        mismatches = self.recount.mismatches if self.recount else ()
        return len({each.hour for each in mismatches if each.hour.date() == day.day})

    def hours_that_agree(self, day: Day) -> int:
        """Return the number of hours of a day that agree with the log."""
        agreeing = self.recount.agreeing if self.recount else frozenset()
        return sum(hour.date() == day.day for hour in agreeing)
