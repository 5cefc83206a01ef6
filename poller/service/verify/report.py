"""The report of `verify`, from which JSON and text are rendered."""

from dataclasses import dataclass
from datetime import date, datetime

from poller.core.events import Stream
from poller.core.log_ids import moment_of
from poller.core.spans import LogRange
from poller.service.verify.daily import Day, Verdict
from poller.service.verify.hourly import Recount
from poller.service.verify.received import SourceComparison


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """The result of `--segment`.

    Without `has_reasons` Segment told only what was received. `suppressed_users` counts the
    suppressed users whom the ledger knows. It is None if the token may not list them.
    """

    comparison: SourceComparison
    has_reasons: bool
    suppressed_users: int | None

    @property
    def differs(self) -> bool:
        return bool(self.comparison.differences)

    def sums(self, day: date) -> tuple[int, int, int]:
        """Return how many messages were acknowledged, received and lost on a day."""
        rows = [row for row in self.comparison.rows if row.hour.date() == day]
        return (
            sum(row.acknowledged for row in rows),
            sum(row.received for row in rows),
            sum(row.shortfall for row in rows),
        )


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
    source: SourceReport | None = None

    @property
    def settled_from(self) -> datetime | None:
        """The time from which the log is settled."""
        if self.settled:
            return moment_of(self.settled[0].after)
        return None

    @property
    def differs(self) -> bool:
        is_source_short = self.source is not None and self.source.differs
        return is_source_short or any(day.verdict is Verdict.DIFFERS for day in self.days)

    def hours_that_differ(self, day: Day) -> int:
        """Return the number of hours of a day that differ from the log."""
        mismatches = self.recount.mismatches if self.recount else ()
        return len({each.hour for each in mismatches if each.hour.date() == day.day})

    def hours_that_agree(self, day: Day) -> int:
        """Return the number of hours of a day that agree with the log."""
        agreeing = self.recount.agreeing if self.recount else frozenset()
        return sum(hour.date() == day.day for hour in agreeing)
