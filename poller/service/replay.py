"""Sending dead letters again: each event is translated anew, under the same message ids."""

from collections.abc import Sequence

from poller.core.counts import SentTrack
from poller.core.delivery import BatchSender
from poller.core.events import LogEvent
from poller.core.outcomes import DeadLetter
from poller.core.ports import ProfileDirectory
from poller.core.settlement import partition, tracks_of
from poller.core.translation.translator import Translator

DEAD_LETTERS_PER_DELIVERY = 50
"""Dead letters that are sent together. The acknowledged ones are removed before the next ones."""


def replay(
    events: Sequence[LogEvent],
    profiles: ProfileDirectory,
    translator: Translator,
    sender: BatchSender,
) -> tuple[tuple[LogEvent, ...], tuple[SentTrack, ...], tuple[DeadLetter, ...]]:
    """Return the acknowledged events, their tracks, and the dead letters that are left.

    Each dead letter that is left has the reason of this attempt. An event that is of no interest
    any more, by the settings of today, is in neither.

    Raises:
        TransientError, FatalError: from the sink. Some of the events may have arrived.
    """
    selection = translator.select(events)
    calls = translator(selection, profiles.of(selection.users))
    forwarded, dead = partition(calls, sender.deliver(calls.messages))
    return forwarded, tuple(tracks_of(calls, forwarded)), dead
