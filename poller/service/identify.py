"""The identifies that a backfill sends at its end: one a user, with the profile as it is then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from poller.core.calls import Awaited, Awaiting
from poller.core.forward import Courier
from poller.core.messages import Identify
from poller.core.novelty import PARTIAL, Said
from poller.core.ports import ProfileDirectory
from poller.core.translate import Translator

AT_ONCE = 80
"""Users to one request and one batch: their ids just fit into the query of a search."""

log = structlog.get_logger()


class Queue(Protocol):
    """A ledger's users who await an identify. Thread-safe."""

    def awaiting(self, after: str, limit: int) -> Sequence[Awaited]:
        """Up to `limit` above the user id `after`, by user id."""
        ...

    def said_at(self, keys: Sequence[str]) -> Mapping[str, Said]:
        """Of what Segment was told, the last by key."""
        ...

    def identified(self, done: Sequence[Awaiting], said: Mapping[str, str], at: datetime) -> None:
        """Records that these await no more, and what Segment was told of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """What became of so many users: `sent`, or `left_out`, since they are known, deleted, or were refused."""

    sent: int = 0
    left_out: int = 0


class Identifier:
    """Sends what is due to users who await it.

    Left out is who was identified since they began to wait, or since `begun_at`: then a newer event has told of them.
    With `only_news` also who would be told the same again.
    """

    def __init__(
        self,
        queue: Queue,
        directory: ProfileDirectory,
        translator: Translator,
        courier: Courier,
        *,
        begun_at: datetime,
        only_news: bool,
    ) -> None:
        self._queue = queue
        self._directory = directory
        self._translator = translator
        self._courier = courier
        self._begun_at = begun_at
        self._only_news = only_news

    def send(self, batch: Sequence[Awaited]) -> Identified:
        """Identifies these; durable when it returns. A crash between sends them again under the same ids.

        Raises:
            TransientError, FatalError: from the directory, the sink or the ledger; all of them still wait.
        """
        profiles = self._directory.of([entry.who.user_id for entry in batch])
        messages: dict[str, Identify] = {}
        for entry in batch:
            profile = profiles.get(entry.who.user_id)
            message = self._translator.identify(entry.who, profile) if profile else None
            if message is not None:
                messages[entry.who.user_id] = message
        # Asked after the profiles were read: whom the daemon identifies now has newer traits already.
        known = self._queue.said_at([message.fact.key for message in messages.values() if message.fact])
        due = [
            messages[entry.who.user_id]
            for entry in batch
            if entry.who.user_id in messages and not self._is_known(messages[entry.who.user_id], entry, known)
        ]
        delivery = self._courier.deliver(tuple(due))
        for refusal in delivery.refusals:
            log.warning("identify.refused", log_id=refusal.message.log_id, status=refusal.status)
        sent = [message for message in due if message.message_id in delivery.acknowledged]
        said = {message.fact.key: message.fact.fingerprint for message in sent if message.fact}
        at = max((message.timestamp for message in sent), default=self._begun_at)
        self._queue.identified([entry.who for entry in batch], said, at)
        return Identified(sent=len(sent), left_out=len(batch) - len(sent))

    def _is_known(self, message: Identify, entry: Awaited, known: Mapping[str, Said]) -> bool:
        said = known.get(message.fact.key) if message.fact else None
        if message.fact is None or said is None or said.fingerprint == PARTIAL:
            return False
        is_since = said.at >= min(entry.seen_at, self._begun_at)
        return is_since or (self._only_news and said.fingerprint == message.fact.fingerprint)
