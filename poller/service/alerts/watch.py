"""The facts about the daemon that alerts are made of: an observer beside the metrics."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from poller.core.forward import Forwarded
from poller.core.spans import Span
from poller.service.alerts.kinds import Kind
from poller.service.alerts.rules import Condition, Memories, Memory, Occurrence
from poller.service.lifecycle.backlog import Backlog
from poller.service.observability.ages import LogAges
from poller.service.observability.instrumented import Observer, SegmentCounts, is_alarming

STUCK_AFTER = timedelta(minutes=30)
BACKLOG_AFTER = timedelta(hours=1)
_SAFE_AGE_S = 3600.0
"""A position younger than this is in no danger, since the shortest retention is a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFacts:
    """The rows of the ledger that alerts tell of: when gaps were noticed, and dead letters."""

    gaps: tuple[datetime, ...] = ()
    dead_letters: Mapping[str, int] = field(default_factory=dict)


class Watch(Observer):
    """The states of the daemon. Thread-safe. No method raises.

    `interval` is the time between two cycles.
    """

    def __init__(
        self,
        interval: timedelta,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stuck_after_s = (STUCK_AFTER + interval).total_seconds()
        self._monotonic = monotonic
        self._ages = LogAges(monotonic, now)
        self._lock = threading.Lock()
        self._settled_at = monotonic()
        self._settled = 0
        self._blocked: tuple[str, float] | None = None
        self._is_blocked_known = False
        self._segment: SegmentCounts | None = None
        self._backlog_s = 0.0
        self._shrunk_at = 0.0

    def start_at(self, live: Span | None) -> None:
        if live is not None:
            self._ages.start_at(live)

    def note_time(self, served_at: datetime) -> None:
        self._ages.note_time(served_at)

    def count_settled(self, forwarded: Forwarded) -> None:
        self._ages.move(forwarded)
        with self._lock:
            self._settled_at = self._monotonic()
            self._settled += 1

    def watch_backlog(self, look: Callable[[], Backlog]) -> None:
        self._ages.look_at_backlog = look

    def set_blocked(self, *, is_blocked: bool, code: str = "") -> None:
        with self._lock:
            self._is_blocked_known = True
            if not is_blocked:
                self._blocked = None
            else:
                since = self._blocked[1] if self._blocked else self._monotonic()
                self._blocked = (code, since)

    def set_retention(self, retention: timedelta) -> None:
        self._ages.retention = retention

    def set_segment_counts(self, counts: SegmentCounts) -> None:
        self._segment = counts

    @property
    def settled(self) -> int:
        """The number of pages that were settled since the start."""
        return self._settled

    @property
    def is_blocked(self) -> bool:
        return self._blocked is not None

    def recall(self, memories: Memories) -> None:
        """Take over what an earlier process measured: the retention of the log."""
        mark = memories.get(Kind.RETENTION, Memory(kind=Kind.RETENTION)).mark
        if mark:
            self._ages.retention = timedelta(seconds=float(mark))

    def marks(self) -> dict[Kind, str]:
        """Return the marks that a later process needs."""
        retention = self._ages.retention
        return {Kind.RETENTION: str(round(retention.total_seconds()))} if retention else {}

    def conditions(self, at: datetime) -> dict[Kind, Condition | None]:
        """Return the states at this time of the host. See `Facts`."""
        with self._lock:
            blocked, is_known = self._blocked, self._is_blocked_known
            settled_at, has_settled = self._settled_at, self._settled > 0
        now_s = self._monotonic()
        found: dict[Kind, Condition | None] = {}
        if is_known:
            found[Kind.BLOCKED] = blocked and Condition(
                since=at - timedelta(seconds=now_s - blocked[1]),
                detail=f"The error is {blocked[0]}",
                section=blocked[0],
            )
        if blocked is None:
            # A daemon that is blocked settles nothing either, and one cause is one alert.
            stuck = _since(at, now_s - settled_at, self._stuck_after_s)
            if stuck is not None or has_settled:  # a start alone is no end of what was told before
                found[Kind.STUCK] = stuck
            found[Kind.BACKLOG] = self._backlog(at, now_s)
        found.update(self._retention(at))
        if self._segment is not None:
            found[Kind.SEGMENT] = _missing(self._segment) if is_alarming(self._segment) else None
        return found

    def _backlog(self, at: datetime, now_s: float) -> Condition | None:
        backlog_s = self._ages.look_at_backlog().time_left.total_seconds()
        if backlog_s != self._backlog_s:  # it grows by the next outage only, and begins anew then
            self._backlog_s, self._shrunk_at = backlog_s, now_s
        if not backlog_s:
            return None
        return _since(at, now_s - self._shrunk_at, BACKLOG_AFTER.total_seconds())

    def _retention(self, at: datetime) -> dict[Kind, Condition | None]:
        ages = self._ages.values()
        age_s, kept_s = ages["position_age_seconds"], ages["retention_seconds"]
        if age_s is None or kept_s is None:
            return {}
        if age_s <= max(_SAFE_AGE_S, 0.5 * kept_s):
            return {Kind.RETENTION: None}
        detail = (
            f"The oldest unread event may be {_hours(age_s)} old, and the tenant keeps events for "
            f"{_hours(kept_s)}"
        )
        return {Kind.RETENTION: Condition(since=at, detail=detail)}


def new_gaps(mark: str, facts: LedgerFacts) -> tuple[Occurrence | None, str]:
    """Return the gaps that were noticed after the mark, and the new mark.

    Without a mark, all gaps are known: this is the first look at the ledger.
    """
    newest = max(facts.gaps, default=None)
    new_mark = newest.isoformat() if newest else mark or "none"
    if not mark:
        return None, new_mark
    new = [at for at in facts.gaps if mark == "none" or at > datetime.fromisoformat(mark)]
    if not new:
        return None, mark
    return Occurrence(number=len(new), detail="New gaps: {number:,}"), new_mark


def new_dead_letters(mark: str, facts: LedgerFacts) -> tuple[Occurrence | None, str]:
    """Return the dead letters above the counts of the mark, and the new mark.

    Without a mark, all dead letters are known: this is the first look at the ledger.
    """
    new_mark = json.dumps(dict(sorted(facts.dead_letters.items())))
    if not mark:
        return None, new_mark
    known: dict[str, int] = json.loads(mark)
    number = sum(
        max(count - known.get(reason, 0), 0) for reason, count in facts.dead_letters.items()
    )
    detail = f"New dead letters: {{number:,}}, of {', '.join(sorted(facts.dead_letters))}"
    return (Occurrence(number=number, detail=detail) if number else None), new_mark


def _since(at: datetime, elapsed_s: float, after_s: float) -> Condition | None:
    return Condition(since=at - timedelta(seconds=elapsed_s)) if elapsed_s >= after_s else None


def _missing(counts: SegmentCounts) -> Condition:
    detail = (
        f"{counts.missing:,} of {counts.acknowledged:,} messages of the last 24 hours are missing"
    )
    return Condition(since=counts.at, detail=detail)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.0f} hours"
