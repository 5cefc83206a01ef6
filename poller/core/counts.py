"""The counters of the ledger: events, tracks and acknowledged messages, each by hour."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, tzinfo

from poller.core.count_names import AGAIN, FIRST, LOG, UNDATED
from poller.core.events import LogEvent
from poller.core.log_ids import moment_of
from poller.core.messages import Delivery, Group, Identify, Message, Track
from poller.core.text.dates import believed_date

KINDS: Mapping[type[Message], str] = {Identify: "identify", Track: "track", Group: "group"}
"""The kinds of messages, by Segment's names."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgedKey:
    """Identifies one counter: messages of one kind that Segment acknowledged in one hour.

    The hour is Segment's. `event` is the name of a track, and empty for other kinds. An undated
    message counts in the hour in which it was settled.
    """

    hour: datetime
    kind: str
    event: str
    sending: str = FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class AcknowledgedCounts:
    """The messages of a stream that Segment acknowledged.

    `since` is the time from which on the ledger has counted them. It is None if the ledger holds
    nothing of the stream.
    """

    since: datetime | None
    messages: Mapping[AcknowledgedKey, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKey:
    """Identifies one count of Segment's source: messages of one kind in one hour of arrival.

    `event` is the name of a track, and empty for other kinds. `reason` says why the messages were
    dropped. It is empty for those that were received. Segment may leave out the kind or the name.
    """

    hour: datetime
    kind: str
    event: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCounts:
    """The messages that a Segment source received, and those that it dropped, since an hour.

    Without `has_reasons` Segment told only what was received.
    """

    since: datetime
    received: Mapping[SourceKey, int] = field(default_factory=dict)
    failed: Mapping[SourceKey, int] = field(default_factory=dict)
    filtered: Mapping[SourceKey, int] = field(default_factory=dict)
    has_reasons: bool = True


SentTrack = tuple[LogEvent, str]
"""An event, and the name of a track that was sent for it."""
Acknowledged = tuple[Message, datetime | None]
"""A message, and the time of Segment's acknowledgement if two clocks agree on one."""


def tally(event: LogEvent, outcome: str, settled_at: datetime, *, origin: str = LOG) -> TallyKey:
    """Return the hourly count that an event with this outcome belongs to."""
    return TallyKey(
        hour=hour_of(event, settled_at), type=event.type, outcome=outcome, origin=origin
    )


def tally_all(
    outcomes: Iterable[tuple[LogEvent, str]], settled_at: datetime, *, origin: str = LOG
) -> Counter[TallyKey]:
    """Return the number of events by outcome, in the hours in which the events are counted."""
    return Counter(
        {
            TallyKey(hour=hour, type=type_, outcome=outcome, origin=origin): number
            for hour, type_, outcome, number in _count_by_hour(outcomes, settled_at)
        }
    )


def hour_of(event: LogEvent, settled_at: datetime) -> datetime:
    """Return the beginning of the hour in which the event is counted.

    An event that has no time of its own is counted in the hour in which it was settled.
    """
    return beginning_of_hour(_moment_of(event, settled_at))


def _moment_of(event: LogEvent, settled_at: datetime) -> datetime:
    return event.date or believed_date(None, id_time=moment_of(event.log_id)) or settled_at


def _count_by_hour(
    events: Iterable[tuple[LogEvent, str]], settled_at: datetime
) -> Iterator[tuple[datetime, str, str, int]]:
    """Yield the hour, the type, the text that is given with the event, and the number of events.

    The day and the hour are counted as they are, since to make and compare the beginning of the
    hour of each event would take most of the time.
    """
    counted: Counter[tuple[date, int, tzinfo | None, str, str]] = Counter()
    for event, text in events:
        moment = _moment_of(event, settled_at)
        counted[moment.date(), moment.hour, moment.tzinfo, event.type, text] += 1
    for (day, hour, zone, type_, text), number in counted.items():
        yield datetime.combine(day, time(hour, tzinfo=zone)), type_, text, number


def beginning_of_hour(moment: datetime) -> datetime:
    """Return the beginning of the hour that this moment lies in."""
    return moment.replace(minute=0, second=0, microsecond=0)


def count_sent(
    tracks: Iterable[SentTrack], settled_at: datetime, *, origin: str = LOG
) -> Counter[SentKey]:
    """Return the number of tracks by name, in the hours in which their events are counted."""
    return Counter(
        {
            SentKey(hour=hour, type=type_, name=name, origin=origin): number
            for hour, type_, name, number in _count_by_hour(tracks, settled_at)
        }
    )


def acknowledged_of(messages: Iterable[Message], delivery: Delivery) -> Iterator[Acknowledged]:
    """Yield the messages that Segment acknowledged. Each batch has a time of its own."""
    times = {
        message_id: receipt.acknowledged_at
        for receipt in delivery.receipts
        for message_id in receipt.message_ids
    }
    for message in messages:
        if message.message_id in times:
            yield message, times[message.message_id]


def count_acknowledged(
    acknowledged: Iterable[Acknowledged],
    settled_at: datetime,
    *,
    is_again: Callable[[Message], bool],
) -> Counter[AcknowledgedKey]:
    """Return the number of acknowledged messages. A second message of one id was sent again."""
    counted: Counter[tuple[datetime | None, type[Message], str, bool]] = Counter()
    seen: set[str] = set()
    for message, at in acknowledged:
        repeats = message.message_id in seen or is_again(message)
        seen.add(message.message_id)
        event = message.event if isinstance(message, Track) else ""
        counted[at, type(message), event, repeats] += 1
    found: Counter[AcknowledgedKey] = Counter()
    for (at, kind, event, repeats), number in counted.items():
        key = AcknowledgedKey(
            hour=beginning_of_hour(at or settled_at),
            kind=KINDS[kind],
            event=event,
            sending=_sending(at, repeats=repeats),
        )
        found[key] += number
    return found


def _sending(acknowledged_at: datetime | None, *, repeats: bool) -> str:
    if repeats:
        return AGAIN
    return UNDATED if acknowledged_at is None else FIRST


def ids_of_signups(acknowledged: Iterable[Acknowledged]) -> list[str]:
    """Return the ids of the messages whose id is made of a user, so that other events may share it.

    Two logins within minutes of each other can both be the first one of a user.
    """
    return [
        message.message_id
        for message, _ in acknowledged
        if message.fingerprint is not None and message.fingerprint.key == message.message_id
    ]
