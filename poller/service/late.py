"""Late arrivals: events that came into the log below what was read already.

No public report shows one, and Auth0 excludes none (its log streams promise no order), so the live span is walked
twice: the second walk follows `late_window` behind and sends what the first did not see.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from poller.core.events import LogId, Page, Span, floor_id, is_derived
from poller.core.forward import Courier, Forwarded, forward
from poller.core.ports import Ledger, LogSource, ProfileDirectory
from poller.core.translate import Translator

EVERY_S = 60.0
"""How often the second walk goes on; each time it reads what the first read in such a while."""

log = structlog.get_logger()


class Memory(Ledger, Protocol):
    """A ledger that knows which events of interest the first walk settled, and how far the second has come."""

    def unseen(self, span: Span, log_ids: Sequence[LogId]) -> frozenset[LogId]:
        """Those of these ids that were not settled, above `confirmed`."""
        ...

    def confirm_from(self, position: LogId | None) -> None:
        """Lets the second walk go on at `position`; None: nobody walks."""
        ...

    def forget_ids(self, before: LogId) -> int:
        """Forgets recent ids below `before` that the second walk has passed."""
        ...


class LateArrivals:
    """A LogSource of what the first walk did not see; other events were counted then and are left out.

    So is a record without an id, which no memory can hold.
    """

    def __init__(self, source: LogSource, translator: Translator, memory: Memory) -> None:
        self._source = source
        self._translator = translator
        self._memory = memory

    def fetch(self, span: Span) -> Page:
        page = self._source.fetch(span)
        readable = [event for event in page.events if not is_derived(event.log_id)]
        of_interest = [event for event in readable if self._translator.is_of_interest(event)]
        late = self._memory.unseen(span, [event.log_id for event in of_interest])
        return replace(page, events=tuple(event for event in of_interest if event.log_id in late), lost=None)


class SecondWalk:
    """Reads the live span once more, `window` behind the server's now; a window of zero: nobody walks."""

    def __init__(  # noqa: PLR0913 - the ports, and when to walk
        self,
        *,
        source: LogSource,
        profiles: ProfileDirectory,
        translator: Translator,
        courier: Courier,
        memory: Memory,
        window: timedelta,
        has_room: Callable[[], bool],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ports = (LateArrivals(source, translator, memory), profiles, translator, courier, memory)
        self._memory = memory
        self._window = window
        self._has_room = has_room
        self._monotonic = monotonic
        self._due_at = float("-inf")
        self._confirmed: LogId | None = None

    def begin(self, live: Span) -> None:
        """To be told at the beginning of each drain; a window that was switched on begins at what is reached."""
        if self._window:
            if live.confirmed is None:
                # Stored at once: a process that ends before the first walk must not begin the next one higher.
                self._memory.confirm_from(live.reached)
            self._confirmed = max(self._confirmed or live.after, live.confirmed or live.reached)
        elif live.confirmed is not None:
            self._memory.confirm_from(None)

    def follow(self, before: Span, forwarded: Forwarded) -> None:
        """To be told of each page of the first walk: what it read later than the window needs no second look."""
        if self._confirmed is not None and self._confirmed >= before.reached:
            late_enough = floor_id(forwarded.settlement.page.served_at - self._window)
            self._confirmed = max(self._confirmed, min(forwarded.span.reached, late_enough))

    def pages(self, live: Span, now: datetime) -> Iterator[Forwarded]:
        """What is late, page by page, at most once a minute and only where the rate limit leaves room.

        Raises:
            TransientError, FatalError: as `forward`.
        """
        if self._monotonic() < self._due_at or not self._has_room():
            return
        self._due_at = self._monotonic() + EVERY_S
        if self._confirmed is None:
            self._memory.forget_ids(live.reached)
            return
        self._confirmed = max(self._confirmed, live.after)  # which may have come up with the first page
        if self._confirmed != live.confirmed:
            self._memory.confirm_from(self._confirmed)
        until = min(live.reached, floor_id(now - self._window))
        if until > self._confirmed:
            yield from self._walk(replace(live, confirmed=self._confirmed).rereading(until), until)
        self._memory.forget_ids(floor_id(now - 2 * self._window))

    def _walk(self, span: Span, until: LogId) -> Iterator[Forwarded]:
        for forwarded in forward(*self._ports, span):
            self._confirmed = forwarded.span.reached
            for event, outcome in forwarded.settlement.outcomes():
                log.warning("event.late", log_id=event.log_id, outcome=outcome)
            yield forwarded
            if forwarded.settlement.page.is_end and not forwarded.span.is_done:
                # Nothing is there up to the bound.
                self._memory.confirm_from(until)
                self._confirmed = until
                return
