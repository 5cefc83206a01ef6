"""Cycles: what one did so far, and where the outcome is noted."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from poller.core.errors import FatalError
from poller.core.settlement import Settlement


@dataclass(slots=True, kw_only=True)
class CycleCount:
    """What one cycle did so far."""

    pages: int = 0
    read: int = 0
    filtered: int = 0
    forwarded: int = 0
    dead_lettered: int = 0
    redated: int = 0
    newest: datetime | None = None
    served_at: datetime | None = None

    def add(self, settlement: Settlement) -> None:
        page = settlement.page
        self.pages += 1
        self.read += len(page.events)
        self.filtered += len(settlement.filtered)
        self.forwarded += len(settlement.forwarded)
        self.dead_lettered += len(settlement.dead_letters)
        self.redated += settlement.redated
        dates = [event.date for event in page.events if event.date is not None]
        self.newest = max([*dates, *([self.newest] if self.newest else [])], default=None)
        self.served_at = page.served_at

    def facts(self) -> dict[str, Any]:
        """The counts, and `lag_s`: how old the newest event was when it was read, by the server's clock."""
        facts: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("pages", "read", "filtered", "forwarded", "dead_lettered", "redated")
        }
        if self.newest and self.served_at:
            facts["lag_s"] = round(max((self.served_at - self.newest).total_seconds(), 0.0), 1)
        return facts


class CycleJournal(Protocol):
    """Where `status` reads how the daemon fares; a note that cannot be made is no reason to stop."""

    def note_cycle(self, *, at: datetime, error: str | None) -> None: ...

    def note_blocked(self, error: FatalError | None) -> None: ...
