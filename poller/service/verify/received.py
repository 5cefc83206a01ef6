"""The comparison of each hour with what Segment received. Pure.

The ledger counts the messages that Segment acknowledged, in the hour of the answer. Segment counts
what its source received, what failed on ingest, and what was filtered at the source, in the hour
of the arrival. Every acknowledged message arrived. So for each hour, kind and name of event,
Segment should have at least as many as the ledger. Only a shortfall is a difference. The
reasoning:

**More than acknowledged is no difference.** A process that is killed between the answer and the
settle sends its page again. An answer that is lost has the same effect. What is sent again at will
is known to the ledger, and counted apart. Other programs may use the source. All of this makes
Segment's count higher, and none of it loses a message.

**Before or after dedupe.** Segment drops a message whose id it has seen in the last 24 hours or
more. Nobody says whether its counts come before or after this. If before, a repeat counts twice,
which only makes the count higher. If after, a repeat counts in the hour of its *first* arrival.
The ledger has it in the hour of the attempt that was recorded. So a shortfall counts as made up if
Segment received more than was acknowledged in one of the 24 hours before. What is sent again at
will never makes a shortfall, because it is not in the number that Segment must reach.

**Edges.** A message can arrive a moment before the hour, and be acknowledged a moment after it.
Where Segment's own clock is not believed, the time of the answer is right to five minutes only. So
a shortfall counts as made up by the neighbouring hours, too.

**A surplus cannot hide much.** An unrecorded attempt is a page, at most 100 events. So of the
surplus of one hour, at most `MOST_UNRECORDED` messages make up for another hour. Of a neighbour,
all of it does, apart from what was sent again at will then.

**Received with or without what was filtered.** The order of Segment's pipeline says that what is
filtered at the source was received before. This is not established. Let A be acknowledged, R
received, F failed, and X filtered.

- If R holds X, then R - X passed. If R does not hold X, then R passed.
- A failed message is in R by neither reading. So what failed and was ours is the smaller of F and
  A - R.
- A filtered message of ours did not pass. By the first reading, what was filtered and was ours is
  the smaller of X and A - (R - X). By the second reading the smaller of X and A - R. The first
  number is the larger one, and it is right by both readings if no other program sends events of
  this name. So it is taken: no loss is hidden. It is wrong only if the second reading is true, and
  Segment filters events of another program that have the same name.
- Missing without a reason is what exceeds all arrivals. By the first reading, the arrivals are R +
  F, and by the second R + X + F. The second one is taken, so that no reading makes a false
  difference. If the first one is true, as many as X may be missing besides. The hour is a
  difference then anyway, because of X.

**A drop beside a surplus is no difference.** Messages that were sent again in the same hour, or
messages of another program, may be the dropped ones. The report names such drops in a note.

**A drop is named all the same** if an earlier attempt of the message had arrived. That is too much
by a message or two, where a process was killed just before the source began to drop.

**Not judged.** Hours that ended less than ten minutes ago, since Segment counts late. Hours before
the ledger began to count, and hours that Segment no longer tells. Undated messages.
"""

import enum
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from poller.core.counts import (
    KINDS,
    AcknowledgedCounts,
    AcknowledgedKey,
    SourceCounts,
    SourceKey,
    beginning_of_hour,
)
from poller.service.verify.hour_figures import HourFigures, make_up

FINAL_AFTER = timedelta(minutes=10)
"""The time from the end of an hour after which Segment's counts of it are taken for final.

Segment says 30 seconds, and that this may vary. Its own pages hide the last 5 minutes.
"""


class SourceVerdict(enum.StrEnum):
    """The result for one hour, and one kind and name of message."""

    AGREES = "agrees"
    MORE = "more"
    """Segment received more than was acknowledged."""
    OTHER_HOUR = "other_hour"
    """Segment received some of the messages in another hour."""
    DIFFERS = "differs"
    NOT_FINAL = "not_final"
    NOT_KNOWN = "not_known"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """The counts of one hour, and one kind and name of message.

    `acknowledged` is what Segment must have: messages that were sent for the first time. `apart`
    are acknowledged messages that Segment need not have, by the kind of sending. `lost` is what of
    `acknowledged` Segment dropped, by Segment's reason. `missing` is what Segment has no trace of.
    `elsewhere` is what it received in another hour.
    """

    hour: datetime
    kind: str
    event: str
    verdict: SourceVerdict
    acknowledged: int
    apart: Mapping[str, int]
    received: int
    failed: Mapping[str, int]
    filtered: Mapping[str, int]
    lost: Mapping[str, int] = field(default_factory=dict)
    missing: int = 0
    elsewhere: int = 0

    @property
    def shortfall(self) -> int:
        """The acknowledged messages that did not pass the source."""
        return sum(self.lost.values()) + self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceComparison:
    """The result for a range of hours, oldest first.

    `known_since` is the first hour that both sides know, and None if there is none.
    `names_of_others` are names of tracks that the source received and that were never acknowledged
    here.
    """

    rows: tuple[SourceRow, ...]
    known_since: datetime | None
    final_until: datetime
    names_of_others: tuple[str, ...]

    @property
    def differences(self) -> tuple[SourceRow, ...]:
        return tuple(row for row in self.rows if row.verdict is SourceVerdict.DIFFERS)


def compare_with_source(
    acknowledged: AcknowledgedCounts,
    counted: SourceCounts,
    *,
    since: datetime,
    until: datetime,
    now: datetime,
) -> SourceComparison:
    """Return a verdict on each hour from `since` to before `until`.

    Both counts should begin `REPEAT_HOURS` before `since`. `now` is the time of Segment, at which
    its counts were read. The ledger must be read before Segment's counts are.
    """
    known_since = _known_since(acknowledged, counted)
    final_until = beginning_of_hour(now - FINAL_AFTER)
    rows: list[SourceRow] = []
    series = _series(acknowledged, counted, known_since)
    nameless = _nameless(counted)
    for (kind, event), hours in series.items():
        judged = [
            hour
            for hour in sorted(hours)
            if known_since is not None and known_since <= hour < final_until
        ]
        make_up(hours, judged, nameless)
        rows += (
            _row(hours[hour], hour, kind, event, _verdict(hours[hour], hour, judged, final_until))
            for hour in hours
            if since <= hour < until
        )
    ours = {event for _, event in series}
    return SourceComparison(
        rows=tuple(sorted(rows, key=lambda row: (row.hour, row.kind, row.event))),
        known_since=known_since,
        final_until=final_until,
        names_of_others=tuple(sorted({key.event for key in counted.received} - ours - {""})),
    )


Series = dict[tuple[str, str], dict[datetime, HourFigures]]
"""The figures by kind and name, and then by hour."""


def _known_since(acknowledged: AcknowledgedCounts, counted: SourceCounts) -> datetime | None:
    if acknowledged.since is None:
        return None
    return max(beginning_of_hour(acknowledged.since), counted.since)


def _series(
    acknowledged: AcknowledgedCounts, counted: SourceCounts, known_since: datetime | None
) -> Series:
    """Return the weighed figures of every kind and name that the ledger has."""
    found: Series = {(key.kind, key.event): {} for key in acknowledged.messages}

    def at(key: AcknowledgedKey | SourceKey) -> HourFigures:
        is_known = known_since is not None and key.hour >= known_since
        hours = found.get((key.kind, key.event), {})
        return hours.setdefault(key.hour, HourFigures(is_known=is_known))

    for key, number in acknowledged.messages.items():
        at(key).add(key.sending, number)
    for source_key, number in counted.received.items():
        at(source_key).received += number
    for source_key, number in counted.failed.items():
        at(source_key).failed[source_key.reason] += number
    for source_key, number in counted.filtered.items():
        at(source_key).filtered[source_key.reason] += number
    for hours in found.values():
        for each in hours.values():
            each.weigh()
    return found


def _nameless(counted: SourceCounts) -> dict[datetime, Counter[str]]:
    """Return the drops that Segment tells no kind or no name of, by hour."""
    found: dict[datetime, Counter[str]] = defaultdict(Counter)
    for dropped in (counted.failed, counted.filtered):
        for key, number in dropped.items():
            if _is_nameless(key):
                found[key.hour][key.reason] += number
    return found


def _is_nameless(key: SourceKey) -> bool:
    return key.kind not in KINDS.values() or (key.kind == "track" and not key.event)


def _verdict(
    figures: HourFigures, hour: datetime, judged: Sequence[datetime], final_until: datetime
) -> SourceVerdict:
    if hour >= final_until:
        return SourceVerdict.NOT_FINAL
    if hour not in judged:
        return SourceVerdict.NOT_KNOWN
    if figures.missing or figures.lost:
        return SourceVerdict.DIFFERS
    if figures.elsewhere:
        return SourceVerdict.OTHER_HOUR
    if figures.received > figures.first:
        return SourceVerdict.MORE
    return SourceVerdict.AGREES


def _row(
    figures: HourFigures, hour: datetime, kind: str, event: str, verdict: SourceVerdict
) -> SourceRow:
    is_judged = verdict not in {SourceVerdict.NOT_FINAL, SourceVerdict.NOT_KNOWN}
    return SourceRow(
        hour=hour,
        kind=kind,
        event=event,
        verdict=verdict,
        acknowledged=figures.first,
        apart=dict(figures.apart),
        received=figures.received,
        failed=dict(figures.failed),
        filtered=dict(figures.filtered),
        lost=dict(figures.lost) if is_judged else {},
        missing=figures.missing if is_judged else 0,
        elsewhere=figures.elsewhere if is_judged else 0,
    )
