"""What is settled together: the proof that every event of a page is accounted for, ready to be recorded."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from poller.core import messages
from poller.core.events import LogEvent
from poller.core.file_pages import FilePage
from poller.core.log_ids import LogId, moment_of
from poller.core.messages import Delivery
from poller.core.outcomes import Calls, DeadLetter, PendingIdentify
from poller.core.pages import Page
from poller.core.spans import LogCursor
from poller.core.text.dates import believed_date

FILTERED = "filtered"
FORWARDED = "forwarded"
DEAD_LETTERED = "dead_lettered"
DISCARDED = "discarded"
"""The end of a dead letter that was discarded on request: it is counted in its hour, and no id of it is kept."""
OUTCOMES = (FORWARDED, FILTERED, DEAD_LETTERED, DISCARDED)
LOG = "log"
FILE = "file"
"""Where an event was read. One that was read from both counts once for each."""


class UnaccountedError(AssertionError):
    """A bug: an event or a message of the page has no outcome. Nothing may be settled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many events of one type, dated within one hour and read from one origin, had one outcome."""

    hour: datetime
    type: str
    outcome: str
    origin: str = LOG


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """How many tracks of one name were sent for events of one type, dated within one hour and read from one origin."""

    hour: datetime
    type: str
    name: str
    origin: str = LOG


Track = tuple[LogEvent, str]
"""An event, and the name of a track that was sent for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of events, and what Segment was told with them."""

    forwarded: tuple[LogEvent, ...]
    filtered: tuple[LogEvent, ...]
    dead_letters: tuple[DeadLetter, ...]
    declined: tuple[LogEvent, ...] = ()
    """Those of the filtered that the settings decline, and other settings would send."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """The fingerprints of what was sent with this page, by key."""
    pending_identifies: tuple[PendingIdentify, ...] = ()
    """Of the forwarded, those whose user is still to be identified."""
    tracks: tuple[Track, ...] = ()
    """The tracks of the forwarded: a login that is a signup too has two."""

    @property
    def ids_of_interest(self) -> tuple[LogId, ...]:
        buried = (letter.event for letter in self.dead_letters)
        return tuple(event.log_id for event in (*self.forwarded, *buried, *self.declined))

    @property
    def redated(self) -> int:
        """The number of events that were sent with the time in their log id, as their own date is not believed."""
        return sum(event.is_redated for event in self.forwarded)

    @property
    def settled_at(self) -> datetime:
        """The server's time of the page."""
        raise NotImplementedError

    @property
    def origin(self) -> str:
        """Where the events were read: `LOG` or `FILE`."""
        raise NotImplementedError

    @property
    def tallies(self) -> Counter[Tally]:
        settled_at, origin = self.settled_at, self.origin
        counts = Counter(
            (hour_of(event, settled_at), event.type, outcome) for event, outcome in self.outcomes()
        )
        return Counter(
            {
                Tally(hour=hour, type=kind, outcome=outcome, origin=origin): count
                for (hour, kind, outcome), count in counts.items()
            }
        )

    def sent(self, log_ids: Collection[LogId] | None = None) -> Counter[Sent]:
        """Return the tracks that were sent, for all events or for these."""
        tracks = [track for track in self.tracks if log_ids is None or track[0].log_id in log_ids]
        return count_sent(tracks, self.settled_at, origin=self.origin)

    def outcomes(self) -> Iterator[tuple[LogEvent, str]]:
        for event in self.forwarded:
            yield event, FORWARDED
        for event in self.filtered:
            yield event, FILTERED
        for letter in self.dead_letters:
            yield letter.event, DEAD_LETTERED


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement(Outcomes):
    """A page of which every event is forwarded, filtered or dead-lettered; made only by `account`."""

    span: LogCursor
    page: Page

    @property
    def origin(self) -> str:
        return LOG

    @property
    def settled_at(self) -> datetime:
        return self.page.served_at


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettlement(Outcomes):
    """A page of a file, of whose events those that were taken have each an outcome; made only by `account_file`."""

    page: FilePage

    @property
    def origin(self) -> str:
        return FILE

    @property
    def settled_at(self) -> datetime:
        return self.page.served_at


def build_settlement(span: LogCursor, page: Page, calls: Calls, delivery: Delivery) -> Settlement:
    """The settlement of a page, if and only if nothing in it is left open.

    Raises:
        UnaccountedError: a message is neither acknowledged nor refused, or an event has not exactly one outcome.
    """
    settlement = Settlement(span=span, page=page, **_outcomes(calls, delivery))
    _check(settlement, page.events, f"the page after {span.reached}")
    return settlement


def account_file(
    page: FilePage, taken: Iterable[LogEvent], calls: Calls, delivery: Delivery
) -> FileSettlement:
    """The same of a page of a file; those events that were not `taken` are settled elsewhere, or not asked for.

    Raises:
        UnaccountedError: as `account`.
    """
    settlement = FileSettlement(page=page, **_outcomes(calls, delivery))
    _check(settlement, taken, f"the page up to byte {page.end.offset}")
    return settlement


def _outcomes(calls: Calls, delivery: Delivery) -> dict[str, Any]:
    """What `Outcomes` is made of.

    Raises:
        UnaccountedError: a message is neither acknowledged nor refused.
    """
    forwarded, dead_letters = partition(calls, delivery)
    acknowledged = delivery.acknowledged
    told = tuple(message for message in calls.messages if message.message_id in acknowledged)
    return {
        "forwarded": forwarded,
        "filtered": tuple(entry.event for entry in calls.filtered),
        "dead_letters": dead_letters,
        "declined": tuple(entry.event for entry in calls.filtered if entry.is_declined),
        "fingerprints": {
            message.fingerprint.key: message.fingerprint.value
            for message in told
            if message.fingerprint is not None
        },
        "pending_identifies": _pending_identifies(calls, forwarded),
        "tracks": tuple(tracks_of(calls, forwarded)),
    }


def _check(settled: Outcomes, events: Iterable[LogEvent], what: str) -> None:
    if Counter(event.log_id for event, _ in settled.outcomes()) != Counter(
        event.log_id for event in events
    ):
        raise UnaccountedError(f"{what} has events without exactly one outcome")


def _pending_identifies(
    calls: Calls, forwarded: tuple[LogEvent, ...]
) -> tuple[PendingIdentify, ...]:
    """Return one pending identify for each user and id they were sent under: the newest event's."""
    delivered = {event.log_id for event in forwarded}
    pending = (
        entry.pending_identify
        for entry in calls.forwardable
        if entry.pending_identify and entry.event.log_id in delivered
    )
    in_order = sorted(pending, key=lambda each: each.log_id)
    return tuple({(each.user_id, each.sent_as): each for each in in_order}.values())


def partition(
    calls: Calls, delivery: Delivery
) -> tuple[tuple[LogEvent, ...], tuple[DeadLetter, ...]]:
    """The events that are forwarded, and those that are dead letters.

    An event any of whose messages Segment refused is a dead letter, whatever became of its others.

    Raises:
        UnaccountedError: a message is neither acknowledged nor refused.
    """
    acknowledged = delivery.acknowledged
    refused = {refusal.message.message_id: refusal.status for refusal in delivery.refusals}
    forwarded, dead_letters = [], list(calls.dead_letters)
    for entry in calls.forwardable:
        ids = [message.message_id for message in entry.messages]
        if any(message_id not in acknowledged and message_id not in refused for message_id in ids):
            raise UnaccountedError(
                f"a message of {entry.event.log_id} is neither acknowledged nor refused"
            )
        statuses = [refused[message_id] for message_id in ids if message_id in refused]
        if statuses:
            dead_letters.append(
                DeadLetter(event=entry.event, reason="refused_by_segment", status=statuses[0])
            )
        else:
            forwarded.append(entry.event)
    return tuple(forwarded), tuple(dead_letters)


def tally(event: LogEvent, outcome: str, settled_at: datetime, *, origin: str = LOG) -> Tally:
    """Return the hourly count that an event with this outcome belongs to."""
    hour = hour_of(event, settled_at)
    return Tally(hour=hour, type=event.type, outcome=outcome, origin=origin)


def hour_of(event: LogEvent, settled_at: datetime) -> datetime:
    """Return the beginning of the hour in which the event is counted.

    An event that has no time of its own is counted in the hour in which it was settled.
    """
    moment = event.date or believed_date(None, id_time=moment_of(event.log_id)) or settled_at
    return moment.replace(minute=0, second=0, microsecond=0)


def tracks_of(calls: Calls, forwarded: Iterable[LogEvent]) -> Iterator[Track]:
    """Yield the tracks of these events, in the order of the calls."""
    delivered = {event.log_id for event in forwarded}
    for entry in calls.forwardable:
        if entry.event.log_id in delivered:
            names = (
                message.event for message in entry.messages if isinstance(message, messages.Track)
            )
            yield from ((entry.event, name) for name in names)


def count_sent(
    tracks: Iterable[Track], settled_at: datetime, *, origin: str = LOG
) -> Counter[Sent]:
    """Count tracks by name, in the hours in which their events are counted."""
    counts = Counter((hour_of(event, settled_at), event.type, name) for event, name in tracks)
    return Counter(
        {
            Sent(hour=hour, type=kind, name=name, origin=origin): count
            for (hour, kind, name), count in counts.items()
        }
    )
