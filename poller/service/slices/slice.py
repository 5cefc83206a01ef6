"""A slice at work: a bounded span or revisit, how far its worker is, and how much is left of it."""

from dataclasses import dataclass
from datetime import timedelta

from poller.core.forward import Forwarded
from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.pages import PAGE_SIZE
from poller.core.spans import LogCursor, LogRange


@dataclass(slots=True, kw_only=True)
class Slice:
    """A cursor that a worker moves, and the place where the worker began.

    `after` is kept apart from the cursor, since a join moves the `after` of a span. `page_time` is
    the time of the log that a page takes, averaged over the pages so far, the last ones counting
    most. It is None until a page has shown it.
    """

    cursor: LogCursor
    after: LogId
    pages: int = 0
    events: int = 0
    page_time: timedelta | None = None

    @property
    def pages_left(self) -> float:
        """About how many pages are left, or 0 if nothing tells."""
        left = self.time_left
        return left / self.page_time if left and self.page_time else 0.0

    @property
    def time_left(self) -> timedelta:
        return time_left(self.cursor)

    @property
    def part_done(self) -> float:
        """The part of the slice's time that is walked, from 0 to 1."""
        whole = _length(self.after, self.cursor.until)
        return 1 - self.time_left / whole if whole else 1.0

    def move(self, forwarded: Forwarded) -> None:
        """Take over the cursor of a page that is settled."""
        events = len(forwarded.settlement.page.events)
        length = _length(self.cursor.reached, forwarded.cursor.reached)
        self.cursor = forwarded.cursor
        self.pages += 1
        self.events += events
        if events and length:
            # A page that ends at the end of the slice holds fewer events than a full one.
            page_time = length * (PAGE_SIZE / events)
            self.page_time = (page_time + (self.page_time or page_time)) / 2

    def middle(self) -> LogId | None:
        """Return the middle of what is left, by time, or None if nothing lies between the ends."""
        begin, cursor = moment_of(self.cursor.reached), self.cursor
        if begin is None or cursor.until is None:
            return None
        middle = floor_id(begin + self.time_left / 2)
        return middle if cursor.reached < middle < cursor.until else None


def time_left(cursor: LogCursor) -> timedelta:
    """Return the time between the position of a cursor and its end."""
    return _length(cursor.reached, cursor.until)


def _length(after: LogId, until: LogId | None) -> timedelta:
    return LogRange(after=after, until=until or after).length
