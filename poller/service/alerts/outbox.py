"""The queue of alerts for each target. It is bounded, and the ledger keeps it over a restart.

Each target gets its alerts in order, and one that fails waits alone. Everything here is a value: a
change returns a new outbox.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from poller.service.alerts.kinds import Kind, Severity
from poller.service.alerts.texts import Alert

MOST_QUEUED = 50
"""The alerts that wait for one target at most. The oldest one makes room for a new one."""
FIRST_DELAY = timedelta(minutes=1)
LONGEST_DELAY = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedAlert:
    """An alert that waits for a target. `target` is the key of the target.

    `dropped` counts the alerts before this one for which there was no room.
    """

    number: int
    target: str
    kind: Kind
    title: str
    body: str
    severity: Severity
    attempts: int = 0
    due_at: datetime
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Outbox:
    """The alerts that wait, in the order in which they were put."""

    queued: tuple[QueuedAlert, ...] = ()

    def put(self, alert: Alert, targets: Iterable[str]) -> "Outbox":
        """Queue the alert for each target."""
        outbox = self
        for target in targets:
            outbox = outbox._put(alert, target)
        return outbox

    def _put(self, alert: Alert, target: str) -> "Outbox":
        number = 1 + max((each.number for each in self.queued), default=0)
        added = QueuedAlert(
            number=number,
            target=target,
            kind=alert.kind,
            title=alert.title,
            body=alert.body,
            severity=alert.severity,
            due_at=alert.at,
        )
        own = [each for each in self.queued if each.target == target]
        if len(own) < MOST_QUEUED:
            return Outbox((*self.queued, added))
        oldest, heir = own[0], own[1]
        heir_with_count = replace(heir, dropped=heir.dropped + oldest.dropped + 1)
        kept = [
            heir_with_count if each is heir else each for each in self.queued if each is not oldest
        ]
        return Outbox((*kept, added))

    def for_targets(self, targets: Iterable[str]) -> "Outbox":
        """Leave out the alerts for targets that the settings do not name any more."""
        known = set(targets)
        return Outbox(tuple(each for each in self.queued if each.target in known))

    def due(self, target: str, now: datetime) -> QueuedAlert | None:
        """Return the next alert of the target if it is its time."""
        first = next((each for each in self.queued if each.target == target), None)
        # A clock may have been set back, so a time that is too far away counts as past.
        is_due = first is not None and not now < first.due_at <= now + LONGEST_DELAY
        return first if is_due else None

    def without(self, sent: QueuedAlert) -> "Outbox":
        """Take out an alert that arrived."""
        return Outbox(tuple(each for each in self.queued if each.number != sent.number))

    def postponed(self, failed: QueuedAlert, now: datetime) -> "Outbox":
        """Let an alert that failed wait, twice as long after each failure."""
        due_at = now + delay_after(failed.attempts)
        later = replace(failed, attempts=failed.attempts + 1, due_at=due_at)
        return Outbox(
            tuple(later if each.number == failed.number else each for each in self.queued)
        )


def delay_after(attempts: int) -> timedelta:
    """Return the delay after an attempt that failed, and so many before it."""
    return min(FIRST_DELAY * (1 << min(attempts, 10)), LONGEST_DELAY)
