"""The rules by which a settled page moves a span, apart from any database."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from poller.core.events import Page, Span
from poller.core.log_ids import LogId, floor_id


def advance(span: Span, page: Page, *, late_window: timedelta) -> Span:
    """Return the span as it is once this page is settled.

    `confirmed` follows the position up to `late_window` before the answer, as long as it had kept
    up so far. An answer without a believed time confirms nothing. A `late_window` of zero means
    that there is no second reading, so that everything is confirmed at once.
    """
    drained_at = page.drained_to or span.drained_at if span.is_live else span.drained_at
    confirmed = _confirmed(span, page, late_window)
    return replace(span, reached=page.position, drained_at=drained_at, confirmed=confirmed)


def _confirmed(span: Span, page: Page, late_window: timedelta) -> LogId:
    confirmed = max(span.confirmed, span.after)
    if not late_window:
        return page.position
    if confirmed < span.reached or page.believed_at is None:
        return confirmed
    return max(confirmed, min(page.position, floor_id(page.believed_at - late_window)))


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the spans, by `after`, with each finished one joined to the span that it touches.

    The upper span takes over the lower one's `after`. Nothing else of it changes.
    """
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.after, span.id)):
        touches = bool(found) and found[-1].is_done and found[-1].until == span.after
        found.append(replace(span, after=found.pop().after) if touches else span)
    return tuple(found)
