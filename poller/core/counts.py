"""The counters of the ledger: events and tracks, each by hour."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from poller.core.events import LogEvent
from poller.core.log_ids import moment_of
from poller.core.text.dates import believed_date

FILTERED = "filtered"
FORWARDED = "forwarded"
DEAD_LETTERED = "dead_lettered"
DISCARDED = "discarded"
"""Somebody discarded the dead letter. The event is counted. Its log id is not remembered."""
OUTCOMES = (FORWARDED, FILTERED, DEAD_LETTERED, DISCARDED)
LOG = "log"
FILE = "file"
"""The origins of an event. An event that was read from both counts once for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TallyKey:
    """Identifies one counter: events of one type, hour and origin that had one outcome."""

    hour: datetime
    type: str
    outcome: str
    origin: str = LOG


@dataclass(frozen=True, slots=True, kw_only=True)
class SentKey:
    """Identifies one counter: tracks of one name, for events of one type, hour and origin."""

    hour: datetime
    type: str
    name: str
    origin: str = LOG


SentTrack = tuple[LogEvent, str]
"""An event, and the name of a track that was sent for it."""


def tally(event: LogEvent, outcome: str, settled_at: datetime, *, origin: str = LOG) -> TallyKey:
    """Return the hourly count that an event with this outcome belongs to."""
    return TallyKey(
        hour=hour_of(event, settled_at), type=event.type, outcome=outcome, origin=origin
    )


def hour_of(event: LogEvent, settled_at: datetime) -> datetime:
    """Return the beginning of the hour in which the event is counted.

    An event that has no time of its own is counted in the hour in which it was settled.
    """
    moment = event.date or believed_date(None, id_time=moment_of(event.log_id)) or settled_at
    return moment.replace(minute=0, second=0, microsecond=0)


def count_sent(
    tracks: Iterable[SentTrack], settled_at: datetime, *, origin: str = LOG
) -> Counter[SentKey]:
    """Return the number of tracks by name, in the hours in which their events are counted."""
    return Counter(
        SentKey(hour=hour_of(event, settled_at), type=event.type, name=name, origin=origin)
        for event, name in tracks
    )
