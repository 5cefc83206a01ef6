"""The dead letters as the live page shows them, and its actions on them."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from poller.adapters.sql_ledger.dead_letters import DeadLetterStore, StoredDeadLetter, event_of
from poller.cli.wiring.replay import replay_pages
from poller.cli.wiring.services import connect, stream_of
from poller.config import Settings
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.text.dates import iso
from poller.core.text.plain_text import visible
from poller.service.page.parts import Action, Target
from poller.service.watching.rows import letter_values

LETTERS_PER_PAGE = 100


class PageLetters:
    """The dead letters of the daemon's stream. Each call opens the ledger, as the commands do.

    A replay has connections of its own, as the command `dead-letters replay` has beside a daemon.
    So nothing of the daemon waits for it. Message ids are the same at every attempt, so a replay by
    the page and one by the command cannot count twice.
    """

    def __init__(self, settings: Settings, stopping: threading.Event) -> None:
        self._settings = settings
        self._stopping = stopping

    def reasons(self) -> dict[str, int]:
        with self._opened() as store:
            return store.reasons(stream=self._stream(store))

    def page(self, *, after: str, reason: str) -> list[dict[str, Any]]:
        with self._opened() as store:
            pages = store.pages(
                stream=self._stream(store),
                reason=reason or None,
                after=after,
                size=LETTERS_PER_PAGE,
            )
            return [_values(letter) for letter in next(pages, ())]

    def detail(self, log_id: str) -> dict[str, Any] | None:
        with self._opened() as store:
            letters = next(self._picked(store, Target(log_id=log_id)), ())
            for letter, text in store.events(letters).items():
                event = event_of(letter, text)
                return {**_values(letter), **letter_values(event, self._settings.page.show)}
        return None

    def act(self, action: Action, target: Target) -> dict[str, Any]:
        with self._opened(to_change=True) as store:
            if next(self._picked(store, target), None) is None:
                raise FatalError(
                    "these dead letters are not in the ledger any more",
                    code="dead-letter-unknown",
                    hint="load the list again",
                )
            pages = self._picked(store, target)
            if action == "discard":
                return {"discarded": sum(map(store.discard, pages))}
            with connect(self._settings, self._stopping) as services:
                replayed, left = replay_pages(
                    self._settings, services, store, self._stream(store), pages
                )
            return {"replayed": replayed, "left": left}

    def _stream(self, store: DeadLetterStore) -> Stream:
        return store.recorded(stream_of(self._settings))

    def _picked(
        self, store: DeadLetterStore, target: Target
    ) -> Iterator[tuple[StoredDeadLetter, ...]]:
        ids = [target.log_id] if target.log_id else []
        return store.pages(stream=self._stream(store), log_ids=ids, reason=target.reason or None)

    @contextmanager
    def _opened(self, *, to_change: bool = False) -> Iterator[DeadLetterStore]:
        with closing(DeadLetterStore.open(self._settings.state.url, to_change=to_change)) as store:
            yield store


def _values(letter: StoredDeadLetter) -> dict[str, Any]:
    return {
        "log_id": letter.log_id,
        "type": visible(letter.type),
        "reason": letter.reason,
        "status": letter.status,
        "dead_lettered_at": iso(letter.dead_lettered_at),
    }
