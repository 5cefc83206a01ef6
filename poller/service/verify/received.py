"""Compare the acknowledged messages of each hour with Segment's own counts. Pure.

The ledger counts each message that Segment acknowledged, in the hour of the answer. Segment counts
the messages that its source received, that failed on ingest, and that were filtered at the source,
in the hour in which they arrived. Both counts are compared for each hour, kind of message and name
of event. Segment should count at least as many messages as the ledger. A shortfall is a difference,
unless one of the rules below explains it.

**A surplus is no difference.** Segment may count more than the ledger, and nothing is lost then. A
process that is killed between the answer and the settle sends its page again. After a lost answer
the messages are sent again too. Other programs may use the same source. The ledger counts apart
what somebody sends again on purpose.

**A repeat may count in an earlier hour.** Segment drops a message whose id it has seen in the last
24 hours or more. Segment does not say whether its counts come before or after this step. If they
come before, a repeat counts twice, which is a surplus. If they come after, a repeat counts only in
the hour of its first arrival. The ledger counts it in the hour of the attempt that was recorded. So
a surplus in one of the 24 hours before makes up for a shortfall. Messages that are sent again on
purpose cause no shortfall, because Segment's count need not include them.

**A message may cross the edge of an hour.** It can arrive just before the end of an hour, and be
acknowledged just after it. If Segment's clock is not believed, the time of the answer can be wrong
by five minutes. So a surplus in the hour before or in the hour after makes up for a shortfall too.

**A surplus makes up for a limited number.** Otherwise a large surplus could hide a loss. An attempt
that nobody recorded is one page, of at most 100 events. So one hour gives at most
`MOST_UNRECORDED` messages to the hours of the day after it. To the hour before and the hour after,
it gives its whole surplus without the messages that were sent again on purpose.

**The received messages may include the filtered ones.** The order of the steps in Segment's
pipeline suggests that they do, but Segment does not say so. The rules hold in both cases. Let A be
the number of acknowledged messages, R of received, F of failed, and X of filtered ones.

- If R includes X, then R - X messages passed. If it does not, then R messages passed.
- R does not include F in either case. So the number of our own failed messages is the smaller of F
  and A - R.
- A filtered message of ours did not pass. If R includes X, the number of our own filtered messages
  is the smaller of X and A - (R - X). If it does not, their number is the smaller of X and A - R.
  The first number is never the smaller one of the two. It is used, so that no loss is hidden. It is
  too high in one case only: R does not include X, and Segment filters events of another program
  that have the same name.
- A message of ours is missing if Segment has no trace of it. If R includes X, Segment has a trace
  of R + F messages. If it does not, Segment has a trace of R + X + F messages. The second number is
  used, so that no difference is reported by mistake. If R includes X, up to X more messages may be
  missing. The hour is a difference then anyway, because of X.

**A drop in an hour with a surplus is no difference.** The dropped messages may be repeats, or
messages of another program. The report mentions such drops in a note.

**A drop counts even if an earlier attempt of the message arrived.** So the report may name one or
two messages too many. This happens if a process is killed just before the source begins to drop.

**Some hours are not judged.** These are the hours that ended less than ten minutes ago, since
Segment counts late, the hours before the ledger began to count, and the hours that Segment no
longer tells. Undated messages are not judged either.
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
