"""Late arrivals: events that came into the log below what was read already.

No public report shows one, and Auth0 excludes none (its log streams promise no order). So the
log is read a second time, `late_window` behind the server's time. Events that the first reading
settled are left out, by the recent ids that the ledger keeps.
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
"""The least time between two turns of the second reading."""
LONGEST_YIELD = timedelta(minutes=10)
"""The longest that a second reading leaves the rate limit to others. Half of the window is less."""

log = structlog.get_logger()


class LateArrivalLedger(Ledger, Protocol):
    """A ledger that knows what the first reading settled and what the second has to pass."""

    def unseen(self, cursor: LogCursor, log_ids: Sequence[LogId]) -> frozenset[LogId]:
        """Return those of these ids, above where the cursor stands, that were not settled."""
        ...

    def unread_stretches(self) -> Sequence[UnreadStretch]:
        """Return what second readings have to pass outside of the live span, oldest first."""
        ...

    def forget_ids(self) -> int:
        """Forget the recent ids that no second reading will pass any more."""
        ...

    def stop_second_readings(self) -> None:
        """Confirm everything that was read, since nobody will read it a second time."""
        ...


class LateArrivals:
    """A LogSource of the events that the first reading did not see.

    The other events were counted then and are left out. So is a record without an id, since no
    recent id can stand for it. An answer without a believed time moves nothing.
    """

    def __init__(
        self, source: LogSource, translator: Translator, ledger: LateArrivalLedger
    ) -> None:
        self._source = source
        self._translator = translator
        self._ledger = ledger

    def fetch(self, cursor: LogCursor) -> Page:
        page = self._source.fetch(cursor)
        if page.believed_at is None:
            return replace(page, events=(), position=cursor.reached, is_end=True, lost=None)
        readable = [event for event in page.events if not is_derived(event.log_id)]
        of_interest = [event for event in readable if self._translator.is_of_interest(event)]
        late = self._ledger.unseen(cursor, [event.log_id for event in of_interest])
        return replace(page, events=tuple(event for event in of_interest if event.log_id in late))


class LookbackScan:
    """The second reading: of the live span, and of the unread stretches that spans left behind.

    A `window` of zero means that nobody reads a second time.
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
        measured: Callable[[datetime | None], None] = lambda confirmed_at: None,  # noqa: ARG005 - nobody looks
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        late_arrivals = LateArrivals(source, translator, ledger)
        self._ports = (late_arrivals, profiles, translator, sender, ledger)
        self._ledger = ledger
        self._window = window
        self._has_room = has_room
        self._measured = measured
        self._monotonic = monotonic
        self._due_at = float("-inf")
        self._waiting_since: float | None = None

    def begin(self) -> None:
        """Prepare the ledger at the beginning of a drain."""
        if not self._window:
            self._ledger.stop_second_readings()

    def pages(self, now: datetime | None) -> Iterator[Forwarded]:
        """Yield what is late, page by page; `now` is the server's believed time, if there is one.

        A turn comes at most once a minute, and only where the rate limit leaves room. After half
        of the window, or 10 minutes, it comes all the same.

        Raises:
            TransientError, FatalError: as `forward`.
        """
        if not self._window or now is None or not self._is_due():
            return
        bound = floor_id(now - self._window)
        yield from self._live(bound)
        for stretch in self._ledger.unread_stretches():
            # An end without a time cannot be compared with one, and is read at once.
            if stretch.until is None or stretch.until <= bound or moment_of(stretch.until) is None:
                yield from self._read(stretch)
        self._ledger.forget_ids()
        self._measure()

    def _live(self, bound: LogId) -> Iterator[Forwarded]:
        live = self._ledger.live_span()
        if live is not None and min(live.reached, bound) > live.confirmed:
            yield from self._read(live.second_reading(min(live.reached, bound)))

    def _read(self, cursor: LogCursor) -> Iterator[Forwarded]:
        for forwarded in forward(*self._ports, cursor):
            for event, outcome in forwarded.settlement.outcomes():
                log.warning("event.late", log_id=event.log_id, outcome=outcome)
            yield forwarded
            if forwarded.settlement.page.is_end:
                return

    def _is_due(self) -> bool:
        now = self._monotonic()
        if now < self._due_at:
            return False
        if not self._has_room() and not self._has_waited_enough(now):
            return False
        self._waiting_since = None
        self._due_at = now + SECOND_READING_INTERVAL_S
        return True

    def _has_waited_enough(self, now: float) -> bool:
        """Tell whether others have held the rate limit for as long as this reading yields to them."""
        if self._waiting_since is None:
            self._waiting_since = now
        waited_s = now - self._waiting_since
        if waited_s < min(self._window / 2, LONGEST_YIELD).total_seconds():
            return False
        log.warning(
            "second_reading.overdue",
            waited_s=round(waited_s),
            note="other applications use the rate limit; late events are looked for all the same",
        )
        return True

    def _measure(self) -> None:
        """Tell up to when the log is confirmed, or None where all that was read is confirmed."""
        live = self._ledger.live_span()
        behind = [live.confirmed] if live is not None and live.confirmed < live.reached else []
        behind += [stretch.reached for stretch in self._ledger.unread_stretches()]
        moments = [moment for moment in map(moment_of, behind) if moment is not None]
        self._measured(min(moments, default=None))
