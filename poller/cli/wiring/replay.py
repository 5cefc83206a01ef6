"""The replay of dead letters: all that takes the two services, so that the other commands do without."""

import threading
from collections.abc import Callable, Iterable, Sequence

from poller.adapters.sql_ledger import DeadLetterStore, StoredDeadLetter, event_of
from poller.cli.views.output import say
from poller.cli.wiring.services import Services, connect, profiles_of, rules_of, stream_of
from poller.config import Settings
from poller.core.delivery import BatchSender
from poller.core.events import Stream
from poller.core.translation.translator import LiveTranslator
from poller.service.observability.logging_setup import configure_logging
from poller.service.replay import DEAD_LETTERS_PER_DELIVERY, replay
from poller.service.upstream.retry import retrying

Letters = tuple[StoredDeadLetter, ...]


def replay_all(
    settings: Settings, graveyard: DeadLetterStore, pick: Callable[[Stream], Iterable[Letters]]
) -> tuple[int, int]:
    """Send the letters that `pick` finds in this stream again; return how many were acknowledged, and how many not."""
    configure_logging(settings.log.level, settings.log.format)
    with connect(settings, threading.Event()) as services:
        tried = replayed = 0
        for page in pick(stream_of(settings)):
            tried += len(page)
            replayed += sum(
                _replay(
                    settings, services, graveyard, page[start : start + DEAD_LETTERS_PER_DELIVERY]
                )
                for start in range(0, len(page), DEAD_LETTERS_PER_DELIVERY)
            )
    return replayed, tried - replayed


def _replay(
    settings: Settings,
    services: Services,
    graveyard: DeadLetterStore,
    letters: Sequence[StoredDeadLetter],
) -> int:
    """How many of these letters Segment acknowledged."""
    kept = graveyard.events(letters)
    events = {letter.log_id: event_of(letter, text) for letter, text in kept.items()}
    for attempt in retrying():
        with attempt:
            delivered, tracks, dead = replay(
                tuple(events.values()),
                profiles_of(settings, services),
                LiveTranslator(stream_of(settings), rules_of(settings)),
                BatchSender(services.sink, refusal_limit=settings.segment.refusal_limit),
            )
    for letter in dead:
        say(f"{letter.event.log_id} stays: {letter.reason}", is_error=True)
    by_id = {letter.log_id: letter for letter in letters}
    names: dict[str, list[str]] = {}
    for event, name in tracks:
        names.setdefault(event.log_id, []).append(name)
    return graveyard.mark_replayed(
        (by_id[event.log_id], event, names.get(event.log_id, [])) for event in delivered
    )
