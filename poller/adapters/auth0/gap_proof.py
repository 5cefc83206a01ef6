"""The proof that retention removed nothing between a position and the events read above it.

Auth0 does not report a gap. So a gap is recognised here, for each page of the log.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from poller.core.events import SHORTEST_RETENTION, LogEvent, is_derived
from poller.core.log_ids import LogId, floor_id, moment_of, predecessor, successor
from poller.core.spans import Gap, LogCursor, SecondReading, UnreadStretch

_BOUND = re.compile(r"900\d{14}0{39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsAbove:
    """The log events above a position, from one answer.

    `is_short` says that the answer held fewer records than were asked for, and `is_empty` that it
    held none. `begins_at_position` says that the answer began with the position's own event.
    """

    events: tuple[LogEvent, ...]
    served_at: datetime
    believed_at: datetime | None
    is_short: bool
    is_empty: bool
    begins_at_position: bool


def find_gap(
    cursor: LogCursor, answer: EventsAbove, read_oldest: Callable[[], LogId | None]
) -> Gap | None:
    """Return the part that retention may have removed, or None if nothing can be missing.

    `read_oldest` asks the API for the oldest event kept. It is called only if the answer itself
    holds no proof.
    """
    if _is_whole(cursor, answer, read_oldest):
        return None
    return _possible_gap(cursor, answer)


def is_young(cursor: LogCursor, now: datetime | None) -> bool:
    """Return whether everything above the position is certainly still kept at `now`.

    It is if either of two times is younger than the shortest retention: the time in the position's
    id, or the time at which the log was last seen to end there. An age below zero shows that a
    clock was wrong once, and proves nothing.
    """
    if now is None:
        return False
    ages = [now - seen for seen in (moment_of(cursor.reached), cursor.drained_at) if seen]
    return any(timedelta(0) <= age < SHORTEST_RETENTION for age in ages)


def just_below_event(position: LogId) -> LogId:
    """Return the id one below the position if the position can be an event's id.

    A bound that was computed from a time is not an event's id, so no answer can begin with it. The
    bound itself is returned then.
    """
    if _BOUND.fullmatch(position):
        return position
    return predecessor(position) or position


def _is_whole(
    cursor: LogCursor, answer: EventsAbove, read_oldest: Callable[[], LogId | None]
) -> bool:
    """Return whether retention provably removed nothing between the position and the page.

    Each of these is a proof:

    1. The position is young. Retention removes nothing that is younger than
       `SHORTEST_RETENTION`, so everything above the position was there at the answer's time.
    2. The answer begins with the position's own event. Retention removes the oldest events
       first, so it removed nothing above an event that is still there.
    3. The first event is the very next id, so no other event fits in between.
    4. The oldest event kept is not above the position. It is read after the page, so a removal
       between the two requests is noticed.

    An empty log proves nothing: everything may have been removed.
    """
    if answer.begins_at_position or is_young(cursor, answer.believed_at):
        return True
    if answer.events and predecessor(answer.events[0].log_id) == cursor.reached:
        return True
    oldest = read_oldest()
    return oldest is not None and oldest <= cursor.reached


def _possible_gap(cursor: LogCursor, answer: EventsAbove) -> Gap | None:
    """Return the part that retention may have removed, or None if nothing can be missing.

    The gap ends at the first event of the page, or at the answer's time less the shortest
    retention, whichever is lower. It never reaches beyond the cursor's end. An answer without
    events and without a believed time does not show where the gap ends.
    """
    ends = [event.log_id for event in answer.events if not is_derived(event.log_id)][:1]
    if answer.believed_at is not None:
        ends.append(floor_id(answer.believed_at - SHORTEST_RETENTION))
    if cursor.until is not None:
        ends.append(successor(cursor.until))
    is_known = bool(answer.events) or answer.believed_at is not None
    if not is_known or min(ends) <= successor(cursor.reached):
        return None
    is_read_once = isinstance(cursor, SecondReading | UnreadStretch)
    return Gap(after=cursor.reached, before=min(ends), is_read_once=is_read_once)
