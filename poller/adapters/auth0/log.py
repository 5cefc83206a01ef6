"""The tenant log, read by checkpoint. A page names the part that retention removed before it.

The API is asked for the events above a log id (`from`). Three properties of the API shape this
module:

- The event that `from` names is left out of the answer.
- A `from` below the oldest event kept is not an error. The answer then silently begins with the
  oldest event kept, and says nothing about what retention removed in between.
- A page with fewer events than were asked for is not documented as the end of the log.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from poller.adapters.auth0.api import ManagementApi, Reply
from poller.adapters.auth0.gap_proof import (
    EventsAbove,
    find_gap,
    is_young,
    just_below_event,
)
from poller.adapters.auth0.verdicts import SERVICE
from poller.adapters.clocks import earliest_now
from poller.core.errors import UnusableAnswerError
from poller.core.events import LogEvent, is_derived, last_id, parse_events
from poller.core.log_ids import EARLIEST, LogId, floor_id, moment_of
from poller.core.pages import PAGE_SIZE, Page
from poller.core.spans import Gap, LogCursor

END_MARGIN = timedelta(seconds=10)
"""A short page ends a poll if its newest event is at most this much older than the answer.

Events take up to 6 s into the log (recordings of 2018 to 2023), so a further request would bring
no more than the next poll does.
"""


class Auth0Log:
    """The log of one tenant. Each call makes one attempt.

    Each call raises TransientError or FatalError. `on_other_link` is called once, if the Link
    header of a page names another position than the id of the last record.
    """

    def __init__(
        self,
        api: ManagementApi,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        on_other_link: Callable[[LogId], None] = lambda last: None,  # noqa: ARG005 - say nothing
    ) -> None:
        self._api = api
        self._now = now
        self._on_other_link = on_other_link
        self.has_other_link = False
        """True once the Link header of a page named another position than the last id."""

    def fetch(self, cursor: LogCursor) -> Page:
        """Return the next page above `cursor.reached`. See `LogSource.fetch`.

        A short page does not prove that the log ends there. Only an empty answer to a request from
        the position itself does.

        Raises:
            TransientError: Auth0 cannot answer now.
            UnusableAnswerError: the answer is not a page, or does not lie above the position.
            FatalError: Auth0 refuses the request.
        """
        answer = self._above(cursor)
        _check_order(answer.events, cursor)
        lost = find_gap(cursor, answer, lambda: self.oldest_kept()[0])
        if cursor.until is None:
            return _live_page(cursor, answer, lost)
        return _bounded_page(cursor, cursor.until, answer, lost)

    def oldest_kept(self) -> tuple[LogId | None, datetime]:
        """Return the id of the oldest event kept, and the server's time.

        If no other clock confirms the server's time, the newest event of the log may confirm it.
        If the newest event does not confirm the server's time either, use the earlier of the host's
        and the server's time, ignoring a time that lies before the newest event.
        """
        reply = self._read(EARLIEST, 1)
        oldest = last_id(reply.value)
        if reply.believed_at is not None or oldest is None:
            return oldest, reply.at
        newest = moment_of(self.newest_id_in_search() or oldest)
        dated = self._api.dated(reply, newest, is_end=True)
        return oldest, dated.believed_at or earliest_now(reply.at, reply.date, not_before=newest)

    def newest_id_in_search(self) -> LogId | None:
        """Return the id of the newest event in the search, which shows new events late."""
        return self._search_one({})

    def oldest_in_search(self) -> LogId | None:
        """Return the id of the oldest event that the search shows. The id may have any form."""
        return self._search_one({"sort": "date:1"})

    def sample(self, after: LogId) -> tuple[LogEvent, ...]:
        """Return the next events above `after`, up to a page, without checking for a gap."""
        return parse_events(_records(self._read(after, PAGE_SIZE)), after=after)

    def _above(self, cursor: LogCursor) -> EventsAbove:
        """Ask for the events above the position.

        If the position is old, ask from one below it. An answer that then begins with the
        position's own event proves that retention removed nothing between the position and the
        page. The answer may hold that event alone. Such a short page shows nothing of what lies
        above, so then ask again from the position.
        """
        begin = (
            cursor.reached if is_young(cursor, self._now()) else just_below_event(cursor.reached)
        )
        if begin != cursor.reached:
            reply = self._read(begin, PAGE_SIZE)
            records = _records(reply)
            begins_at_position = last_id(records[:1]) == cursor.reached
            # Without an id we cannot tell whether the record is the event at the position.
            is_readable = not records or last_id(records[:1]) is not None
            if is_readable and not (begins_at_position and len(records) == 1):
                rest = records[1:] if begins_at_position else records
                return self._answer(cursor, reply, rest, begins_at_position=begins_at_position)
        reply = self._read(cursor.reached, PAGE_SIZE)
        return self._answer(cursor, reply, _records(reply), begins_at_position=False)

    def _answer(
        self,
        cursor: LogCursor,
        reply: Reply,
        records: Sequence[object],
        *,
        begins_at_position: bool,
    ) -> EventsAbove:
        is_short = len(records) < PAGE_SIZE - begins_at_position
        events = _up_to_last_id(parse_events(records, after=cursor.reached))
        if not events and not is_short:
            raise UnusableAnswerError(
                f"Auth0 answered with a page without any log id above {cursor.reached}",
                service=SERVICE,
            )
        # Only events above the position show how old the answer is. An answer from a cache holds
        # no such event.
        newest = moment_of(events[-1].log_id) if events else None
        reply = self._api.dated(reply, newest, is_end=is_short)
        return EventsAbove(
            events=events,
            served_at=reply.at,
            believed_at=reply.believed_at,
            is_short=is_short,
            is_empty=not records,
            begins_at_position=begins_at_position,
        )

    def _search_one(self, more: dict[str, str]) -> LogId | None:
        params = {"page": "0", "per_page": "1"} | more
        return last_id(_records(self._api.get("logs", params, endpoint="logs")))

    def _read(self, after: LogId, take: int) -> Reply:
        reply = self._api.get("logs", {"from": after, "take": str(take)}, endpoint="logs")
        self._compare_link(reply)
        return reply

    def _compare_link(self, reply: Reply) -> None:
        """Take note of a link that names another position than the last id.

        The documentation advises to follow the link, and every recorded link names the last id.
        A position that no record proves is never followed.
        """
        last = last_id(_records(reply))
        is_other = last is not None and reply.next_from not in {None, last}
        if last is not None and is_other and not self.has_other_link:
            self.has_other_link = True
            self._on_other_link(last)


def _up_to_last_id(events: tuple[LogEvent, ...]) -> tuple[LogEvent, ...]:
    """Drop the trailing events whose records have no id.

    Such records are read again once an id follows them. A position only moves to an id that was
    seen in the log. The Link header names an id too, but no record proves it.
    """
    count = max((n for n, event in enumerate(events, 1) if not is_derived(event.log_id)), default=0)
    return events[:count]


def _live_page(cursor: LogCursor, answer: EventsAbove, lost: Gap | None) -> Page:
    """Return the page of a cursor without an end.

    The poll ends at an empty page, or at a short page whose newest event is at most `END_MARGIN`
    older than the answer. The log was then drained up to the answer's time, or up to that event.
    """
    events = answer.events
    position = events[-1].log_id if events else cursor.reached
    newest = moment_of(position) if events and answer.is_short else None
    is_near = bool(newest and answer.believed_at and answer.believed_at - newest <= END_MARGIN)
    drained_to = newest if is_near else None
    if answer.is_empty:
        drained_to = answer.believed_at
    return Page(
        events=events,
        position=position,
        is_end=not events or is_near,
        served_at=answer.served_at,
        believed_at=answer.believed_at,
        drained_to=drained_to,
        lost=lost,
    )


def _bounded_page(cursor: LogCursor, until: LogId, answer: EventsAbove, lost: Gap | None) -> Page:
    """Return the page of a cursor that ends at `until`, without the events above `until`.

    The end is reached by an event at or beyond `until`, or by an empty answer that was given later
    than the time of `until`.
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
        raise UnusableAnswerError(
            "Auth0 answered the request for logs with JSON that is not a list", service=SERVICE
        )
    return reply.value


def _check_order(events: tuple[LogEvent, ...], cursor: LogCursor) -> None:
    ids = [event.log_id for event in events]
    if ids and (min(ids) <= cursor.reached or ids != sorted(ids)):
        raise UnusableAnswerError(
            f"Auth0 answered with events that are not above {cursor.reached}, or not in order",
            service=SERVICE,
        )
