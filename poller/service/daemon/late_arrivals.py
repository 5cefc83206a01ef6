"""The second reading, which finds events that appeared in the log at ids already read past.

Auth0 writes an event to the log some seconds after it happened, and no document promises that
events become readable in the order of their ids. No public report shows a late arrival, but Auth0
does not rule it out: its log streams promise no order. An event that appears below the position
would never be read.

So the log is read a second time, `late_window` behind the server's time (10 minutes by default).

- Each time a page of a span is settled, its *recent ids* are recorded: the ids to remember above
  the span's `confirmed`.
- The second reading reads `(confirmed, now - late_window]` of the live span again. It leaves out
  every event that is not of interest, and every event whose id is a recent id. The remaining
  events are late arrivals, and are forwarded like any event.
- Settling a page of the second reading moves `confirmed` and not the position of the span.
- A span can end before all of it is confirmed: a backfill reaches its end, or the position is
  moved by hand. The rest becomes an *unread stretch*, which the second reading reads as soon as
  its end is older than `late_window`.
- A recent id is kept while it lies above the `confirmed` of an unfinished span, or inside an
  unread stretch.

The second reading costs about one request for each page of the log. While other applications use up
the tenant's rate limit it waits, but for no longer than half of the window, and for at most
10 minutes.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from poller.core.delivery import BatchSender
from poller.core.events import is_derived
from poller.core.forward import Forwarded, forward
from poller.core.log_ids import LogId, floor_id, moment_of
from poller.core.pages import Page
from poller.core.ports import Ledger, LogSource, ProfileDirectory
from poller.core.spans import LogCursor, UnreadStretch
from poller.core.translation.translator import Translator

SECOND_READING_INTERVAL_S = 60.0
"""The shortest time between two rounds of the second reading."""
LONGEST_WAIT = timedelta(minutes=10)
"""The longest time for which the second reading leaves the rate limit to others.

If half of `late_window` is shorter, that is the maximum.
"""

log = structlog.get_logger()


class LateArrivalLedger(Ledger, Protocol):
    """A ledger that knows what the first reading settled, and what is to be read again."""

    def not_settled(self, cursor: LogCursor, log_ids: Sequence[LogId]) -> frozenset[LogId]:
        """Return the ids among `log_ids` that lie above the position and were not settled."""
        ...

    def unread_stretches(self) -> Sequence[UnreadStretch]:
        """Return the parts outside of the live span that are to be read again, oldest first."""
        ...

    def forget_ids(self) -> int:
        """Forget the recent ids that no second reading will read again."""
        ...

    def stop_second_readings(self) -> None:
        """Mark everything read so far as confirmed, because second readings are off."""
        ...


class LateArrivals:
    """A LogSource of the events that the first reading did not see.

    Events that are not of interest are left out, whether or not the first reading counted them. A
    record without an id is left out too, since no recent id can tell whether the first reading saw
    it.
    """

    def __init__(
        self, source: LogSource, translator: Translator, ledger: LateArrivalLedger
    ) -> None:
        self._source = source
        self._translator = translator
        self._ledger = ledger

    def fetch(self, cursor: LogCursor) -> Page:
        """Return the next page with late arrivals only.

        We cannot tell whether an answer without a believed time came late enough to hold every late
        arrival. Such an answer becomes an empty page that moves nothing.
        """
        page = self._source.fetch(cursor)
        if page.believed_at is None:
            return replace(page, events=(), position=cursor.reached, is_end=True, lost=None)
        of_interest = [
            event
            for event in page.events
            if not is_derived(event.log_id) and self._translator.is_of_interest(event)
        ]
        not_settled = self._ledger.not_settled(cursor, [event.log_id for event in of_interest])
        late = tuple(event for event in of_interest if event.log_id in not_settled)
        return replace(page, events=late)


class SecondReader:
    """The rounds of the second reading: over the live span, and over the unread stretches.

    A `window` of zero means that nothing is read a second time. `has_room` says whether the rate
    limit leaves room. `report_confirmed` is called after each round with the time up to which the
    log is confirmed, or with None if everything that was read is confirmed.
    """

    def __init__(  # noqa: PLR0913 - the ports, and when to read
        self,
        *,
        source: LogSource,
        profiles: ProfileDirectory,
        translator: Translator,
        sender: BatchSender,
        ledger: LateArrivalLedger,
        window: timedelta,
        has_room: Callable[[], bool],
        report_confirmed: Callable[[datetime | None], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        late_arrivals = LateArrivals(source, translator, ledger)
        self._ports = (late_arrivals, profiles, translator, sender, ledger)
        self._ledger = ledger
        self._window = window
        self._has_room = has_room
        self._report_confirmed = report_confirmed
        self._monotonic = monotonic
        self._due_at = float("-inf")
        self._waiting_since: float | None = None

    def clear_if_switched_off(self) -> None:
        """Mark everything as confirmed if second readings are off."""
        if not self._window:
            self._ledger.stop_second_readings()

    def pages(self, now: datetime | None) -> Iterator[Forwarded]:
        """Read a round if one is due, and yield its pages. Each page is durable when it is yielded.

        `now` is the believed time of the server, or None. Without it, nothing is read.

        Raises:
            TransientError, FatalError: as `forward`.
        """
        if not self._window or now is None or not self._take_due_round():
            return
        bound = floor_id(now - self._window)
        yield from self._read_live_span(bound)
        for stretch in self._ledger.unread_stretches():
            own = _is_old_enough(stretch, bound) and self._ledger.begin_work(stretch)
            if own:
                yield from self._read(own)
        self._ledger.forget_ids()
        self._report()

    def _read_live_span(self, bound: LogId) -> Iterator[Forwarded]:
        live = self._ledger.live_span()
        own = live and self._ledger.begin_work(live)
        if own is not None and min(own.reached, bound) > own.confirmed:
            yield from self._read(own.second_reading(min(own.reached, bound)))

    def _read(self, cursor: LogCursor) -> Iterator[Forwarded]:
        for forwarded in forward(*self._ports, cursor):
            for event, outcome in forwarded.settlement.by_event():
                log.warning("event.late", log_id=event.log_id, outcome=outcome)
            yield forwarded
            if forwarded.settlement.page.is_end:
                return

    def _take_due_round(self) -> bool:
        """Return whether a round is due. If so, the next round is due an interval later."""
        now = self._monotonic()
        if now < self._due_at:
            return False
        if not self._has_room():
            if self._waiting_since is None:
                self._waiting_since = now
            waited_s = now - self._waiting_since
            if not self._has_waited_long_enough(waited_s):
                return False
            log.warning(
                "second_reading.overdue",
                waited_s=round(waited_s),
                note="other applications use the rate limit; looking for late events anyway",
            )
        self._waiting_since = None
        self._due_at = now + SECOND_READING_INTERVAL_S
        return True

    def _has_waited_long_enough(self, waited_s: float) -> bool:
        return waited_s >= min(self._window / 2, LONGEST_WAIT).total_seconds()

    def _report(self) -> None:
        live = self._ledger.live_span()
        positions = [stretch.reached for stretch in self._ledger.unread_stretches()]
        if live is not None and live.confirmed < live.reached:
            positions.append(live.confirmed)
        moments = [moment for moment in map(moment_of, positions) if moment is not None]
        self._report_confirmed(min(moments, default=None))


def _is_old_enough(stretch: UnreadStretch, bound: LogId) -> bool:
    """Return whether the stretch can be read now: it ends at the bound or below.

    A stretch without an end, or with an end that holds no time, cannot be compared with the bound.
    It is read at once.
    """
    return stretch.until is None or stretch.until <= bound or moment_of(stretch.until) is None
