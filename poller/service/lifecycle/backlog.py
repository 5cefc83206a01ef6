"""The facts about a backlog, as the log, `status`, metrics and systemd tell them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The part of the log that an outage left unread, at one moment.

    The live span does not belong to it. So a daemon with a large backlog can still be fresh.
    """

    since: datetime | None = None
    """The server's time at which the catch-up began. None means that there is no backlog."""
    slices_left: int = 0
    """The slices that are not finished, those at work included."""
    time_left: timedelta = timedelta()
    """The time of the log that the unread parts of these slices span."""
    pages_left: float = 0.0
    """About how many pages are left, or 0 until a page of this process has shown it."""
    oldest: datetime | None = None
    """The time of the lowest position of a slice. Retention reaches this moment first."""
    postponed: str | None = None
    """The reason of the last failure, until a page of the backlog is settled."""

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is left, the identifies at the end of a catch-up included."""
        return self.since is None

    def facts(self) -> dict[str, Any]:
        """Return the keys of a log line."""
        return {
            "slices_left": self.slices_left,
            "time_left_s": round(self.time_left.total_seconds()),
            "pages_left": round(self.pages_left),
        }


NO_BACKLOG = Backlog()
