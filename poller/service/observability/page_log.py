"""Log lines about pages: gaps, dead letters, and profiles that are missing."""

import structlog

from poller.core.errors import PollerError
from poller.core.forward import Forwarded
from poller.core.log_ids import LogId

_LOST = "retention removed this part of the log before it was read"
_READ_ONCE = "retention removed this part of the log before late events were looked for"

log = structlog.get_logger()


def report(forwarded: Forwarded) -> None:
    """Log what a settled page left behind. `page.forwarded` is a line for debugging only."""
    settlement = forwarded.settlement
    page = settlement.page
    if page.lost is not None:
        log.error(
            "gap.recorded",
            after=page.lost.after,
            before=page.lost.before,
            note=_READ_ONCE if page.lost.is_read_once else _LOST,
        )
    for letter in settlement.dead_letters:
        log.warning(
            "event.dead_lettered",
            log_id=letter.event.log_id,
            reason=letter.reason,
            status=letter.status,
        )
    log.debug("page.forwarded", reached=forwarded.cursor.reached, read=len(page.events))


def warn_of_link(last: LogId) -> None:
    """Log that the log's link and its last id differ. The program goes on from the id."""
    log.warning(
        "log.other_link",
        last=last,
        note="the link to the next page names another position than the last event has",
    )


def warn_of_profiles(error: PollerError) -> None:
    """Log that the profiles cannot be read. Events are sent without their traits."""
    log.warning("profiles.unavailable", reason=str(error), hint=getattr(error, "hint", None))
