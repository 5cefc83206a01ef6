"""Sending dead letters again: each event is translated anew, under the same message ids."""

from collections.abc import Sequence
from dataclasses import dataclass

from poller.core.counts import Acknowledged, SentTrack, acknowledged_of
from poller.core.delivery import BatchSender
from poller.core.events import LogEvent
from poller.core.outcomes import DeadLetter
from poller.core.ports import ProfileDirectory
from poller.core.settlement import partition, tracks_of
from poller.core.translation.translator import Translator

DEAD_LETTERS_PER_DELIVERY = 50
"""Dead letters that are sent together. The acknowledged ones are removed before the next ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The result of a replay.

    An event that is of no interest any more, by the settings of today, is neither forwarded nor a
    dead letter. Each dead letter that is left has the reason of this attempt.
    """

    forwarded: tuple[LogEvent, ...]
    tracks: tuple[SentTrack, ...]
    dead_letters: tuple[DeadLetter, ...]
    acknowledged: tuple[Acknowledged, ...]


def replay(
    events: Sequence[LogEvent],
    profiles: ProfileDirectory,
    translator: Translator,
    sender: BatchSender,
) -> Replay:
    """Send these events, and return what came of them.

    Raises:
        TransientError, FatalError: from the sink. Some of the events may have arrived.
    """
    selection = translator.select(events)
    calls = translator(selection, profiles.of(selection.users))
    delivery = sender.deliver(calls.messages)
    forwarded, dead = partition(calls, delivery)
    return Replay(
        forwarded=forwarded,
        tracks=tuple(tracks_of(calls, forwarded)),
        dead_letters=dead,
        acknowledged=tuple(acknowledged_of(calls.messages, delivery)),
    )
