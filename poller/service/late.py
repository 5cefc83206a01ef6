"""Late arrivals: events that came into the log below what was read already.

No public report shows one, and Auth0 excludes none (its log streams promise no order), so the live span is walked
twice: the second walk follows `late_window` behind and sends what the first did not see.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from poller.core.events import LogId, Page, Span
from poller.core.ports import LogSource
from poller.core.translate import EVENT_NAMES


class Memory(Protocol):
    """Which events of interest the first walk settled."""

    def unseen(self, span: Span, log_ids: Sequence[LogId]) -> frozenset[LogId]:
        """Those of these ids that were not settled, above `confirmed`."""
        ...


class LateArrivals:
    """A LogSource of what the first walk did not see; other events were counted then and are left out."""

    def __init__(self, source: LogSource, memory: Memory) -> None:
        self._source = source
        self._memory = memory

    def fetch(self, span: Span) -> Page:
        page = self._source.fetch(span)
        of_interest = [event for event in page.events if event.type in EVENT_NAMES or event.defect]
        late = self._memory.unseen(span, [event.log_id for event in of_interest])
        return replace(page, events=tuple(event for event in of_interest if event.log_id in late), lost=None)
