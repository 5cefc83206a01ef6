"""The tenant log by checkpoint, with proof that nothing in a page's stretch was cut by retention."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from poller.adapters.auth0.api import ManagementApi, Reply
from poller.adapters.clocks import earliest_now
from poller.core.errors import UnusableAnswerError
from poller.core.events import (
    EARLIEST,
    SHORTEST_RETENTION,
    Gap,
    LogEvent,
    LogId,
    Page,
    Span,
    floor_id,
    last_id,
    moment_of,
    parse_events,
    predecessor,
    successor,
)

PAGE_SIZE = 100  # the most that `take` and `per_page` allow (Management API: Search log events)
SEARCH_LIMIT = 1000  # the most that a search gives, over all its pages
_BOUND = re.compile(r"900\d{14}0{39}")


class Auth0Log:
    """The log of one tenant. One attempt a call; raises TransientError or FatalError."""

    def __init__(self, api: ManagementApi) -> None:
        self._api = api

    def fetch(self, span: Span) -> Page:
        """The next page above `span.reached`; see the port.

        Raises:
            TransientError: also where the answer is no page, or does not lie above the position.
        """
        asked = _anchor(span)
        reply = self._read(asked, PAGE_SIZE)
        if asked != span.reached and reply.value and last_id(reply.value[:1]) is None:
            # A record without an id cannot be told to be the one that was seen last.
            asked = span.reached
            reply = self._read(asked, PAGE_SIZE)
        records = reply.value
        events = parse_events(records, after=span.reached)
        is_anchored = asked != span.reached and bool(events) and events[0].log_id == span.reached
        if is_anchored:
            events = events[1:]
        _check_order(events, span)
        position = _position(reply, span) if events else span.reached
        is_short = len(records) < PAGE_SIZE
        # Only events above the position count: an answer that a cache kept has none.
        reply = self._api.dated(reply, moment_of(events[-1].log_id) if events else None, is_end=is_short)
        lost = None if is_anchored else self._lost(span, events, reply.at)
        page = _bounded(span, events, position, is_short=is_short, served_at=reply.at, lost=lost)
        return replace(page, believed_at=reply.believed_at)

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
        """The id of the newest event that the search shows; it lags."""
        records = _records(self._api.get("logs", {"page": "0", "per_page": "1"}, bucket="logs"))
        return last_id(records)

    def sample(self, after: LogId) -> tuple[LogEvent, ...]:
        """The next events above `after`, up to a page, wherever retention begins."""
        return parse_events(_records(self._read(after, PAGE_SIZE)), after=after)

    def newest(self, types: Sequence[str], count: int) -> tuple[LogEvent, ...]:
        """The newest `count` events of these types, at most 1,000, newest first; read by search, which lags."""
        quoted = " OR ".join(f'"{kind}"' for kind in types)
        found: list[LogEvent] = []
        for page in range(SEARCH_LIMIT // PAGE_SIZE):
            params = {"q": f"type:({quoted})", "page": str(page), "per_page": str(min(count, PAGE_SIZE))}
            records = _records(self._api.get("logs", params, bucket="logs"))
            found += parse_events(records, after=EARLIEST)
            if len(found) >= count or len(records) < PAGE_SIZE:
                break
        return tuple(found[:count])

    def _read(self, after: LogId, take: int) -> Reply:
        reply = self._api.get("logs", {"from": after, "take": str(take)}, bucket="logs")
        _records(reply)
        return reply

    def _lost(self, span: Span, events: tuple[LogEvent, ...], served_at: datetime) -> Gap | None:
        """What retention took between the position and the page; read after the page, so that nothing slips by.

        A `from` below retention silently starts at the oldest event kept.
        """
        if span.reached == EARLIEST and span.drained_at is None:
            return None
        ages = [served_at - seen for seen in (moment_of(span.reached), span.drained_at) if seen is not None]
        # An age below zero is that of a clock that was wrong once, and proves nothing.
        if any(timedelta(0) <= age < SHORTEST_RETENTION for age in ages):
            return None
        if events and predecessor(events[0].log_id) == span.reached:
            return None  # there is no room for anything between
        oldest, _ = self.oldest()
        if oldest is not None and oldest <= span.reached:
            return None
        after = span.reached if span.drained_at is None or span.reached != EARLIEST else floor_id(span.drained_at)
        return Gap(after=after, before=events[0].log_id if events else floor_id(served_at))


def _anchor(span: Span) -> LogId:
    """One below the last event seen: a page that begins with that event proves that nothing after it was cut."""
    if _BOUND.fullmatch(span.reached):
        return span.reached
    return predecessor(span.reached) or span.reached


def _records(reply: Reply) -> list[object]:
    if not isinstance(reply.value, list):
        raise UnusableAnswerError("Auth0 answered logs with JSON that is no list")
    return reply.value


def _check_order(events: tuple[LogEvent, ...], span: Span) -> None:
    ids = [event.log_id for event in events]
    if ids and (min(ids) <= span.reached or ids != sorted(ids)):
        raise UnusableAnswerError(f"Auth0 answered with a page that does not lie above {span.reached}, in order")


def _position(reply: Reply, span: Span) -> LogId:
    """The last record's id; where that record has none, what the server says comes next."""
    read = last_id(reply.value[-1:]) or _next_position(reply.next_url) or last_id(reply.value)
    if read is None or read <= span.reached:
        raise UnusableAnswerError(f"Auth0 answered with a page that does not move past {span.reached}")
    return read


def _next_position(url: str | None) -> LogId | None:
    found = parse_qs(urlsplit(url or "").query).get("from", [])
    return LogId(found[0]) if found else None


def _bounded(
    span: Span,
    events: tuple[LogEvent, ...],
    position: LogId,
    *,
    is_short: bool,
    served_at: datetime,
    lost: Gap | None,
) -> Page:
    is_end = is_short
    if span.until is not None:
        # A short page proves nothing here: only an event beyond the bound, or no event at all, does.
        is_end = not events or events[-1].log_id > span.until
        events = tuple(event for event in events if event.log_id <= span.until)
        position = min(position, span.until)
        # What lies beyond is another span's, lost or not.
        lost = None if lost is None else replace(lost, before=min(lost.before, successor(span.until)))
    return Page(events=events, position=position, is_end=is_end, served_at=served_at, lost=lost)
