"""Log lines about pages: gaps, dead letters, and profiles that are missing."""

import structlog

from poller.core.errors import PollerError
from poller.core.forward import Forwarded

_LATE_LOST = "below retention: late events of this stretch cannot be looked for any more"

log = structlog.get_logger()


def report(forwarded: Forwarded) -> None:
    """Tells of what a page left behind."""
    settlement = forwarded.settlement
    page = settlement.page
    if page.lost is not None:
        log.error(
            "gap.recorded",
            after=page.lost.after,
            before=page.lost.before,
            note=_LATE_LOST if page.lost.is_read_once else "below retention: lost",
        )
    for letter in settlement.dead_letters:
        log.warning(
            "event.dead_lettered",
            log_id=letter.event.log_id,
            reason=letter.reason,
            status=letter.status,
        )
    log.debug("page.forwarded", reached=forwarded.span.reached, read=len(page.events))


def warn_of_profiles(error: PollerError) -> None:
    """For CachedProfiles: traits are missing, events go on."""
    log.warning("profiles.unavailable", reason=str(error), hint=getattr(error, "hint", None))
