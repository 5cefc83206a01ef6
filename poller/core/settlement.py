"""Settlement of a page: the proof that every event of it has exactly one outcome.

The ledger settles a page only by a settlement, and only this module makes settlements. It checks
that each message of the page is acknowledged or refused, and that the outcomes hold each event of
the page once. So a bug that loses an event, or counts it twice, stops the page before it is
recorded. Nothing is lost then, since the span does not move.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from poller.core import messages
from poller.core.count_names import DEAD_LETTERED, FILE, FILTERED, FORWARDED, LOG
from poller.core.counts import (
    Acknowledged,
    SentKey,
    SentTrack,
    TallyKey,
    acknowledged_of,
    count_sent,
    tally_all,
)
from poller.core.events import LogEvent
from poller.core.file_pages import FilePage
from poller.core.log_ids import LogId
from poller.core.messages import Delivery
from poller.core.outcomes import Calls, DeadLetter, PendingIdentify
from poller.core.pages import Page
from poller.core.spans import LogCursor, is_of_catch_up


class UnaccountedError(AssertionError):
    """A bug of this program: a message has no answer, or an event has no outcome or several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOutcomes:
    """The outcomes of events, and what the ledger remembers of the calls."""

    forwarded: tuple[LogEvent, ...]
    filtered: tuple[LogEvent, ...]
    dead_letters: tuple[DeadLetter, ...]
    declined: tuple[LogEvent, ...] = ()
    """Filtered events of a type that other settings forward."""
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """The fingerprints of what was sent with this page, by key."""
    pending_identifies: tuple[PendingIdentify, ...] = ()
    """The users of forwarded events who are still to be identified."""
    tracks: tuple[SentTrack, ...] = ()
    """The tracks of forwarded events. A login that is a signup too has two."""
    acknowledged: tuple[Acknowledged, ...] = ()
    """The messages that Segment acknowledged, those of dead letters too."""

    @property
    def ids_taken(self) -> tuple[LogId, ...]:
        """The ids of the events that were forwarded or became dead letters."""
        dead = (letter.event for letter in self.dead_letters)
        return tuple(event.log_id for event in (*self.forwarded, *dead))

    @property
    def ids_to_remember(self) -> tuple[LogId, ...]:
        return (*self.ids_taken, *(event.log_id for event in self.declined))

    @property
    def redated_count(self) -> int:
        """The number of events that were sent with the time in their log id as their date."""
        return sum(event.is_redated for event in self.forwarded)

    @property
    def is_catch_up(self) -> bool:
        """True where the events are a part of the daemon's catch-up."""
        return False

    @property
    def settled_at(self) -> datetime:
        """The best known time of the answer."""
        raise NotImplementedError

    @property
    def origin(self) -> str:
        """The origin of the events: `LOG` or `FILE`."""
        raise NotImplementedError

    @property
    def tallies(self) -> Counter[TallyKey]:
        return tally_all(self.by_event(), self.settled_at, origin=self.origin)

    @property
    def tallies_of_inherited(self) -> Counter[TallyKey]:
        """The changes of the counts if all events were counted as filtered when they were read."""
        taken = [(event, outcome) for event, outcome in self.by_event() if outcome != FILTERED]
        counted = tally_all(taken, self.settled_at, origin=self.origin)
        before = ((event, FILTERED) for event, _ in taken)
        counted.subtract(tally_all(before, self.settled_at, origin=self.origin))
        return counted

    def sent(self, log_ids: Collection[LogId] | None = None) -> Counter[SentKey]:
        """Count the tracks that were sent, or only those tracks of `log_ids`."""
        tracks = [track for track in self.tracks if log_ids is None or track[0].log_id in log_ids]
        return count_sent(tracks, self.settled_at, origin=self.origin)

    def by_event(self) -> Iterator[tuple[LogEvent, str]]:
        for event in self.forwarded:
            yield event, FORWARDED
        for event in self.filtered:
            yield event, FILTERED
        for letter in self.dead_letters:
            yield letter.event, DEAD_LETTERED


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement(EventOutcomes):
    """A page of the log. Each of its events is forwarded, filtered or dead-lettered.

    Only `build_settlement` makes settlements of the log.
    """

    cursor: LogCursor
    page: Page

    @property
    def is_catch_up(self) -> bool:
        return is_of_catch_up(self.cursor)

    @property
    def origin(self) -> str:
        return LOG

    @property
    def settled_at(self) -> datetime:
        return self.page.served_at


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettlement(EventOutcomes):
    """A page of a file. Each event taken from it has an outcome.

    Only `build_file_settlement` makes settlements of a file.
    """

    page: FilePage

    @property
    def origin(self) -> str:
        return FILE

    @property
    def settled_at(self) -> datetime:
        return self.page.served_at


def build_settlement(cursor: LogCursor, page: Page, calls: Calls, delivery: Delivery) -> Settlement:
    """Return the settlement of a page, if and only if nothing in it is left open.

    Raises:
        UnaccountedError: a message is neither acknowledged nor refused, or an event does not have
            exactly one outcome.
    """
    settlement = Settlement(cursor=cursor, page=page, **_outcomes(calls, delivery))
    _check(settlement, page.events, f"the page after {cursor.reached}")
    return settlement


def build_file_settlement(
    page: FilePage, taken: Iterable[LogEvent], calls: Calls, delivery: Delivery
) -> FileSettlement:
    """Return the settlement of a page of a file, if and only if nothing in it is left open.

    An event of the page that is not `taken` was settled by a span or an earlier file, or lies
    outside of what the command asked for.

    Raises:
        UnaccountedError: on the same conditions as `build_settlement`.
    """
    settlement = FileSettlement(page=page, **_outcomes(calls, delivery))
    _check(settlement, taken, f"the page up to byte {page.end.offset}")
    return settlement


def _outcomes(calls: Calls, delivery: Delivery) -> dict[str, Any]:
    """Return the fields of `EventOutcomes`.

    Raises:
        UnaccountedError: a message is neither acknowledged nor refused.
    """
    forwarded, dead_letters = partition(calls, delivery)
    acknowledged = tuple(acknowledged_of(calls.messages, delivery))
    return {
        "acknowledged": acknowledged,
        "forwarded": forwarded,
        "filtered": tuple(entry.event for entry in calls.filtered),
        "dead_letters": dead_letters,
        "declined": tuple(entry.event for entry in calls.filtered if entry.is_declined),
        "fingerprints": {
            message.fingerprint.key: message.fingerprint.value
            for message, _ in acknowledged
            if message.fingerprint is not None
        },
        "pending_identifies": _pending_identifies(calls, forwarded),
        "tracks": tuple(tracks_of(calls, forwarded)),
    }


def _check(settled: EventOutcomes, events: Iterable[LogEvent], what: str) -> None:
    """Check that the outcomes hold these events, each as often as the page does.

    Raises:
        UnaccountedError: the two differ.
    """
    ids = sorted(event.log_id for event, _ in settled.by_event())
    if ids != sorted(event.log_id for event in events):
        raise UnaccountedError(f"{what} has an event with no outcome or with several")


def _pending_identifies(
    calls: Calls, forwarded: tuple[LogEvent, ...]
) -> tuple[PendingIdentify, ...]:
    """Return the newest pending identify for each user and each id in the tracks."""
    forwarded_ids = {event.log_id for event in forwarded}
    pending = (
        entry.pending_identify
        for entry in calls.forwardable
        if entry.pending_identify and entry.event.log_id in forwarded_ids
    )
    in_order = sorted(pending, key=lambda each: each.log_id)
    return tuple({(each.user_id, each.sent_as): each for each in in_order}.values())


def partition(
    calls: Calls, delivery: Delivery
) -> tuple[tuple[LogEvent, ...], tuple[DeadLetter, ...]]:
    """Return the forwarded events, and the dead letters.

    An event is a dead letter if Segment refused any of its messages. Its other messages may have
    been sent anyway, and a replay sends them again under the same ids.

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


def tracks_of(calls: Calls, forwarded: Iterable[LogEvent]) -> Iterator[SentTrack]:
    """Yield the tracks of these events, in the order of the calls."""
    forwarded_ids = {event.log_id for event in forwarded}
    for entry in calls.forwardable:
        if entry.event.log_id in forwarded_ids:
            for message in entry.messages:
                if isinstance(message, messages.Track):
                    yield entry.event, message.event
