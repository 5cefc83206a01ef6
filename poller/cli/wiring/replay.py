"""The replay of dead letters. It needs both services, which the other commands do not."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from poller.adapters.sql_ledger.dead_letters import DeadLetterStore, StoredDeadLetter, event_of
from poller.cli.views.output import say
from poller.cli.wiring.services import Services, connect, profiles_of, rules_of
from poller.config import Settings
from poller.core.delivery import BatchSender
from poller.core.events import Stream
from poller.core.outcomes import DeadLetter
from poller.core.translation.translator import LiveTranslator
from poller.service.observability.logging_setup import configure_logging
from poller.service.replay import DEAD_LETTERS_PER_DELIVERY, replay
from poller.service.upstream.retry import retrying

Letters = tuple[StoredDeadLetter, ...]


def replay_all(
    settings: Settings, store: DeadLetterStore, stream: Stream, pages: Iterable[Letters]
) -> tuple[int, int]:
    """Send dead letters again. Return how many were acknowledged, and how many were not.

    `pages` are the dead letters, all of this stream, which is the stream of the settings.
    """
    configure_logging(settings.log.level, settings.log.format)
    with connect(settings, threading.Event()) as services:
        return replay_pages(settings, services, store, stream, pages, told=_say)


def replay_pages(
    settings: Settings,
    services: Services,
    store: DeadLetterStore,
    stream: Stream,
    pages: Iterable[Letters],
    *,
    told: Callable[[DeadLetter], None] = lambda _: None,
) -> tuple[int, int]:
    """Do the same with these services. `told` is called for each event that stays dead."""
    tried = replayed = 0
    for page in pages:
        tried += len(page)
        for start in range(0, len(page), DEAD_LETTERS_PER_DELIVERY):
            letters = page[start : start + DEAD_LETTERS_PER_DELIVERY]
            replayed += _replay(settings, services, store, stream, letters, told)
    return replayed, tried - replayed


def _say(letter: DeadLetter) -> None:
    say(f"{letter.event.log_id} stays a dead letter: {letter.reason}", is_error=True)


def _replay(
    settings: Settings,
    services: Services,
    store: DeadLetterStore,
    stream: Stream,
    letters: Sequence[StoredDeadLetter],
    told: Callable[[DeadLetter], None],
) -> int:
    """Send these dead letters, and return how many Segment acknowledged."""
    texts = store.events(letters)
    events = {letter.log_id: event_of(letter, text) for letter, text in texts.items()}
    for attempt in retrying():
        with attempt:
            replayed = replay(
                tuple(events.values()),
                profiles_of(settings, services),
                # The event is that of this route, wherever the routes of now would send it.
                LiveTranslator(stream, replace(rules_of(settings), routing=None)),
                BatchSender(services.sink, refusal_limit=settings.segment.refusal_limit),
            )
    for letter in replayed.dead_letters:
        told(letter)
    by_id = {letter.log_id: letter for letter in letters}
    names: dict[str, list[str]] = {}
    for event, name in replayed.tracks:
        names.setdefault(event.log_id, []).append(name)
    return store.mark_replayed(
        stream,
        [(by_id[event.log_id], event, names.get(event.log_id, [])) for event in replayed.forwarded],
        replayed.acknowledged,
        services.clock.now(),
    )
