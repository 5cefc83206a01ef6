"""A page of the log, and the rule by which a settled page moves a span."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from poller.core.events import LogEvent
from poller.core.log_ids import LogId, floor_id
from poller.core.spans import Gap, Span

PAGE_SIZE = 100
"""The log events of a full page: the most that `take` and `per_page` allow.

Source: Management API, Search log events.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Log events in `(reached, position]`, in log-id order.

    `is_end` says that the log has nothing more to give now. `served_at` is the best known time of
    the answer, and rows are dated by it. `believed_at` is the server's time of the answer, or None
    if no second clock agrees with it. `drained_to` is the time below which the log held nothing
    more. `lost` is the part that retention removed before it could be read.
    """

    events: tuple[LogEvent, ...]
    position: LogId
    is_end: bool
    served_at: datetime
    believed_at: datetime | None = None
    drained_to: datetime | None = None
    lost: Gap | None = None


def advance(span: Span, page: Page, *, late_window: timedelta) -> Span:
    """Return the span as it is once this page is settled."""
    drained_at = span.drained_at
    if span.is_live and page.drained_to is not None:
        drained_at = page.drained_to
    confirmed = _confirmed(span, page, late_window)
    return replace(span, reached=page.position, drained_at=drained_at, confirmed=confirmed)


def _confirmed(span: Span, page: Page, late_window: timedelta) -> LogId:
    """Return the position up to which the span holds no late arrivals once this page is settled.

    Auth0 may add an event to the log below ids that were read already. It does so within
    `late_window` of the time in the event's id. So an answer proves the log complete up to
    `late_window` before the time of the answer, and that is how far `confirmed` follows the
    position.

    This holds only if `confirmed` had kept up so far. If it lags behind `reached`, the part
    between them was read too early, and a page above says nothing about that part: `confirmed`
    stays until a second reading has read that part.

    An answer without a believed time confirms nothing. A `late_window` of zero means that there is
    no second reading, so everything is confirmed at once.
    """
    if not late_window:
        return page.position
    confirmed = max(span.confirmed, span.after)
    has_kept_up = confirmed >= span.reached
    if not has_kept_up or page.believed_at is None:
        return confirmed
    return max(confirmed, min(page.position, floor_id(page.believed_at - late_window)))
