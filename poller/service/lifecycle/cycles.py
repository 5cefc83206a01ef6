"""The count of one cycle, and the port for the notes that `status` reads."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from poller.core.errors import FatalError
from poller.core.settlement import FileSettlement, Settlement


@dataclass(slots=True, kw_only=True)
class OutcomeCount:
    """The events of settled pages by outcome. Used by one thread."""

    read: int = 0
    forwarded: int = 0
    filtered: int = 0
    dead_lettered: int = 0
    redated: int = 0

    def add_outcomes(self, settlement: Settlement | FileSettlement) -> None:
        """Add the events of a page that was settled."""
        self.read += len(settlement.page.events)
        self.forwarded += len(settlement.forwarded)
        self.filtered += len(settlement.filtered)
        self.dead_lettered += len(settlement.dead_letters)
        self.redated += settlement.redated_count


@dataclass(slots=True, kw_only=True)
class CycleCount(OutcomeCount):
    """The events of one cycle so far."""

    pages: int = 0
    newest: datetime | None = None
    """The date of the newest event."""
    served_at: datetime | None = None
    """The server's time of the last page."""

    def add(self, settlement: Settlement) -> None:
        """Add a page that was settled."""
        page = settlement.page
        self.pages += 1
        self.add_outcomes(settlement)
        dates = [self.newest, *(event.date for event in page.events)]
        self.newest = max((date for date in dates if date is not None), default=None)
        self.served_at = page.served_at

    def facts(self) -> dict[str, Any]:
        """Return the keys of a log line: the counts, and the age of the newest event.

        `newest_age_s` is its age when it was read, by the server's clock. It is left out if no
        event with a date was read.
        """
        facts: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("pages", "read", "filtered", "forwarded", "dead_lettered", "redated")
        }
        if self.newest and self.served_at:
            age = (self.served_at - self.newest).total_seconds()
            facts["newest_age_s"] = round(max(age, 0.0), 1)
        return facts


class CycleJournal(Protocol):
    """The notes about the daemon that `status` reads. The ledger keeps them.

    A note that cannot be made must not stop the work. The caller decides about a raised error.
    """

    def note_cycle(self, *, at: datetime, error: str | None) -> None:
        """Note that a cycle ended, and its error if it failed."""
        ...

    def note_blocked(self, error: FatalError | None) -> None:
        """Note the error that somebody must act on, or None once it is over."""
        ...
