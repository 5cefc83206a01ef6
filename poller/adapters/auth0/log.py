"""The tenant log by checkpoint, with proof that nothing in a page's stretch was cut by retention."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from poller.adapters.auth0.api import ManagementApi, Reply
from poller.adapters.auth0.verdicts import SERVICE
from poller.adapters.clocks import earliest_now
from poller.core.errors import UnusableAnswerError
from poller.core.events import SHORTEST_RETENTION, LogEvent, is_derived, last_id, parse_events
from poller.core.log_ids import EARLIEST, LogId, floor_id, moment_of, predecessor, successor
from poller.core.pages import PAGE_SIZE, Page
from poller.core.spans import Gap, LogCursor, SecondReading, UnreadStretch

SEARCH_LIMIT = 1000  # the most that a search gives, over all its pages
END_MARGIN = timedelta(seconds=10)
"""A short page whose newest event is no older than this ends a poll.

Events take up to 6 s into the log (recordings of 2018 to 2023), so that a later request could
bring no more than the next poll does.
"""
_BOUND = re.compile(r"900\d{14}0{39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """The log events above a position. `is_proven`: the answer began with the position's event.

    `is_short`: the log had fewer records than were asked for. `is_empty`: it had none.
    """

    events: tuple[LogEvent, ...]
    served_at: datetime
    believed_at: datetime | None
    is_short: bool
    is_empty: bool
    is_proven: bool


class Auth0Log:
    """The log of one tenant. One attempt a call; raises TransientError or FatalError."""

    def __init__(
        self, api: ManagementApi, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._api = api
        self._now = now

    def fetch(self, cursor: LogCursor) -> Page:
        """Return the next page above `cursor.reached`. See the port.

        A page shorter than asked for is no proof that the log ends there. The log ends where a
        request from the position itself is answered by nothing.

        Raises:
            TransientError: also where the answer is no page, or does not lie above the position.
        """
        answer = self._above(cursor)
        _check_order(answer.events, cursor)
        lost = None if self._is_whole(cursor, answer) else _lost(cursor, answer)
        if cursor.until is None:
            return _live_page(cursor, answer, lost)
        return _bounded_page(cursor, cursor.until, answer, lost)

    def oldest(self) -> tuple[LogId | None, datetime]:
        """Return the id of the oldest event kept, and the server's time.

        Where no other clock agrees with the server's, the newest event of the log may. Where that does not either, the
        lower time of the two is returned that the newest event does not disprove.
        """
        reply = self._read(EARLIEST, 1)
        oldest = last_id(reply.value)
        if reply.believed_at is not None or oldest is None:
            return oldest, reply.at
        newest = moment_of(self.latest() or oldest)
        dated = self._api.dated(reply, newest, is_end=True)
        return oldest, dated.believed_at or earliest_now(reply.at, reply.date, not_before=newest)

    def latest(self) -> LogId | None:
        """Return the id of the newest event that the search shows. The search lags."""
        return self._search_one({})

    def first(self) -> LogId | None:
        """Return the id of the oldest event that the search shows, whatever form its id has."""
        return self._search_one({"sort": "date:1"})

    def sample(self, after: LogId) -> tuple[LogEvent, ...]:
        """Return the next events above `after`, up to a page, wherever retention begins."""
        return parse_events(_records(self._read(after, PAGE_SIZE)), after=after)

    def newest(self, types: Sequence[str], count: int) -> tuple[LogEvent, ...]:
        """Return the newest `count` events of these types, at most 1,000, newest first.

        They come from the search, which lags.
        """
        quoted = " OR ".join(f'"{kind}"' for kind in types)
        found: list[LogEvent] = []
        for page in range(SEARCH_LIMIT // PAGE_SIZE):
            params = {
                "q": f"type:({quoted})",
                "page": str(page),
                "per_page": str(min(count, PAGE_SIZE)),
            }
            records = _records(self._api.get("logs", params, bucket="logs"))
            found += parse_events(records, after=EARLIEST)
            if len(found) >= count or len(records) < PAGE_SIZE:
                break
        return tuple(found[:count])

    def _above(self, cursor: LogCursor) -> _Answer:
        """Ask from the position, or from one below it where only its own event can prove the page."""
        asked = cursor.reached if _is_young(cursor, self._now()) else _anchor(cursor.reached)
        if asked != cursor.reached:
            reply = self._read(asked, PAGE_SIZE)
            records = _records(reply)
            is_anchored = last_id(records[:1]) == cursor.reached
            # A first record without an id cannot be told to be the one that was seen last.
            is_readable = not records or last_id(records[:1]) is not None
            # The record asked from, alone, is a short page: it does not show what lies above.
            if is_readable and not (is_anchored and len(records) == 1):
                rest = records[1:] if is_anchored else records
                return self._answer(cursor, reply, rest, is_anchored=is_anchored)
        reply = self._read(cursor.reached, PAGE_SIZE)
        return self._answer(cursor, reply, _records(reply), is_anchored=False)

    def _answer(
        self, cursor: LogCursor, reply: Reply, records: Sequence[object], *, is_anchored: bool
    ) -> _Answer:
        is_short = len(records) < PAGE_SIZE - is_anchored
        events = _up_to_last_id(parse_events(records, after=cursor.reached))
        if not events and not is_short:
            raise UnusableAnswerError(
                f"Auth0 answered with a page without any log id above {cursor.reached}",
                service=SERVICE,
            )
        # Only events above the position date the answer: an answer that a cache kept has none.
        newest = moment_of(events[-1].log_id) if events else None
        reply = self._api.dated(reply, newest, is_end=is_short)
        return _Answer(
            events=events,
            served_at=reply.at,
            believed_at=reply.believed_at,
            is_short=is_short,
            is_empty=not records,
            is_proven=is_anchored,
        )

    def _is_whole(self, cursor: LogCursor, answer: _Answer) -> bool:
        """Prove that retention removed nothing between the position and the page.

        A `from` below retention silently starts at the oldest event kept. The oldest event is read
        after the page, so that nothing slips away in between.
        """
        if answer.is_proven or _is_young(cursor, answer.believed_at):
            return True
        if answer.events and predecessor(answer.events[0].log_id) == cursor.reached:
            return True  # there is no room for anything between
        oldest, _ = self.oldest()
        return oldest is not None and oldest <= cursor.reached

    def _search_one(self, more: dict[str, str]) -> LogId | None:
        params = {"page": "0", "per_page": "1"} | more
        return last_id(_records(self._api.get("logs", params, bucket="logs")))

    def _read(self, after: LogId, take: int) -> Reply:
        reply = self._api.get("logs", {"from": after, "take": str(take)}, bucket="logs")
        _records(reply)
        return reply


def _up_to_last_id(events: tuple[LogEvent, ...]) -> tuple[LogEvent, ...]:
    """Leave out the records at the end that have no id: they are read once an id follows them.

    A position only moves to an id that was seen in the log. The Link header names one too, and
    what it names is not proven by any record.
    """
    count = max((n for n, event in enumerate(events, 1) if not is_derived(event.log_id)), default=0)
    return events[:count]


def _is_young(cursor: LogCursor, now: datetime | None) -> bool:
    """Tell whether nothing that lies above the position can have been removed by `now`.

    An age below zero is the mark of a clock that was wrong once, and proves nothing.
    """
    if now is None:
        return False
    ages = [now - seen for seen in (moment_of(cursor.reached), cursor.drained_at) if seen]
    return any(timedelta(0) <= age < SHORTEST_RETENTION for age in ages)


def _anchor(position: LogId) -> LogId:
    """Return the id one below: a page that begins with the position's event proves itself."""
    if _BOUND.fullmatch(position):
        return position
    return predecessor(position) or position


def _lost(cursor: LogCursor, answer: _Answer) -> Gap | None:
    """The stretch that retention removed: up to the page, and never into the shortest retention.

    An answer without events and without a believed time says nothing about where the gap ends.
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


def _live_page(cursor: LogCursor, answer: _Answer, lost: Gap | None) -> Page:
    events = answer.events
    position = events[-1].log_id if events else cursor.reached
    newest = moment_of(position) if events and answer.is_short else None
    is_near = bool(newest and answer.believed_at and answer.believed_at - newest <= END_MARGIN)
    drained_to = answer.believed_at if answer.is_empty else newest if is_near else None
    return Page(
        events=events,
        position=position,
        is_end=not events or is_near,
        served_at=answer.served_at,
        believed_at=answer.believed_at,
        drained_to=drained_to,
        lost=lost,
    )


def _bounded_page(cursor: LogCursor, until: LogId, answer: _Answer, lost: Gap | None) -> Page:
    """The part of the answer up to `until`.

    The end is reached by an event at or beyond it, or by an empty answer that is younger.
    """
    events = tuple(event for event in answer.events if event.log_id <= until)
    is_past = bool(answer.events) and answer.events[-1].log_id >= until
    if answer.is_empty and answer.believed_at is not None and moment_of(until) is not None:
        is_past = floor_id(answer.believed_at) >= until
    read = answer.events[-1].log_id if answer.events else cursor.reached
    return Page(
        events=events,
        position=until if is_past else read,
        is_end=is_past or not answer.events,
        served_at=answer.served_at,
        believed_at=answer.believed_at,
        lost=lost,
    )


def _records(reply: Reply) -> list[object]:
    if not isinstance(reply.value, list):
        raise UnusableAnswerError("Auth0 answered logs with JSON that is no list", service=SERVICE)
    return reply.value


def _check_order(events: tuple[LogEvent, ...], cursor: LogCursor) -> None:
    ids = [event.log_id for event in events]
    if ids and (min(ids) <= cursor.reached or ids != sorted(ids)):
        raise UnusableAnswerError(
            f"Auth0 answered with a page that does not lie above {cursor.reached}, in order",
            service=SERVICE,
        )
