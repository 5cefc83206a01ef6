"""A slice: the cut of ranges into slices, and how far the worker of a slice is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from poller.core.forward import Forwarded
from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.pages import PAGE_SIZE
from poller.core.spans import LogCursor, LogRange

SHORTEST_SLICE = timedelta(minutes=10)

Key = tuple[type, int]
"""The kind of a cursor, and its id, which is that of no other cursor of the kind."""


def key_of(cursor: LogCursor) -> Key:
    return type(cursor), cursor.id


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
    moved_at: float | None = None
    """The time of the last page since somebody took the slice, on a monotonic clock."""
    is_finished: bool = False
    """True once the walk has come to the end of the slice."""

    @property
    def key(self) -> Key:
        return key_of(self.cursor)

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

    def move(self, forwarded: Forwarded, now_s: float) -> float | None:
        """Take over the cursor of a page that is settled.

        Return the seconds since the last page, or None for the first one since it was taken.
        """
        events = len(forwarded.settlement.page.events)
        length = _length(self.cursor.reached, forwarded.cursor.reached)
        self.cursor = forwarded.cursor
        self.pages += 1
        self.events += events
        if events and length:
            # A page that ends at the end of the slice holds fewer events than a full one.
            page_time = length * (PAGE_SIZE / events)
            self.page_time = (page_time + (self.page_time or page_time)) / 2
        moved_at, self.moved_at = self.moved_at, now_s
        return None if moved_at is None else now_s - moved_at

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


def cut_into_slices(ranges: Sequence[LogRange], pieces: int) -> tuple[LogRange, ...]:
    """Cut the ranges into about `pieces` slices of equal time, oldest first.

    No slice is much shorter than `SHORTEST_SLICE`, since each slice costs some requests of its own.
    """
    total = sum((each.length for each in ranges), timedelta())
    length = max(total / max(pieces, 1), SHORTEST_SLICE)
    return tuple(piece for each in ranges for piece in _slices(each, length))


def _slices(whole: LogRange, length: timedelta) -> Iterator[LogRange]:
    begin = moment_of(whole.after)
    rest = whole
    if begin:
        # The number is rounded, so a range of a little less than three lengths becomes three
        # slices and not two.
        pieces = round(whole.length / length)
        for number in range(1, pieces):
            at = floor_id(begin + number * whole.length / pieces)
            if rest.after < at < rest.until:
                yield LogRange(after=rest.after, until=at)
                rest = replace(rest, after=at)
    yield rest


def _length(after: LogId, until: LogId | None) -> timedelta:
    return LogRange(after=after, until=until or after).length
