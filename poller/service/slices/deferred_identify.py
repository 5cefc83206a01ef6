"""The identifies that a backfill sends at its end: one a user, with the profile as it is then."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from poller.core.delivery import BatchSender
from poller.core.errors import FatalError, TransientError
from poller.core.messages import Identify
from poller.core.outcomes import PendingIdentify, Profiles, QueuedIdentify
from poller.core.ports import ProfileDirectory
from poller.core.settlement import UnaccountedError
from poller.core.translation.change_detection import PARTIAL, LastSent
from poller.core.translation.translator import HistoryTranslator
from poller.service.lifecycle.process import Process
from poller.service.upstream.retry import LONG_PATIENCE, retrying

USERS_PER_BATCH = 73
"""Users to one request and one batch: ids as `google-oauth2|…`, of 38 characters, just fit into one search."""

log = structlog.get_logger()


class PendingIdentifies(Protocol):
    """A ledger's users who await an identify. Thread-safe."""

    def pending_identifies(self, after: tuple[str, str], limit: int) -> Sequence[QueuedIdentify]:
        """Up to `limit` above `after`, by Auth0's user id and the one they were sent under."""
        ...

    def last_sent(self, keys: Sequence[str]) -> Mapping[str, LastSent]:
        """Of what Segment was told, the last by key."""
        ...

    def record_identified(
        self, done: Sequence[PendingIdentify], said: Mapping[str, str], at: datetime
    ) -> None:
        """Records that these await no more, and what Segment was told of them."""
        ...


class UnreadableDirectoryError(FatalError):
    """The users cannot be read until someone acts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """What became of so many users: `sent`, or `left_out`, since they are known, deleted, or were refused."""

    sent: int = 0
    left_out: int = 0


class IdentifyRunner:
    """All who await it, batch by batch; any number of threads may work at it at once. `make` None: nobody is."""

    def __init__(
        self,
        queue: PendingIdentifies,
        process: Process,
        make: "Callable[[], IdentifySender] | None",
        *,
        patience: timedelta = LONG_PATIENCE,
    ) -> None:
        self._queue = queue
        self._process = process
        self._make = make
        self._patience = patience
        self._lock = threading.Lock()
        self._cursor = ("", "")
        self.is_begun = False
        self.done = Identified()

    def work(self) -> None:
        """Until nobody is left, or the process is to stop.

        Raises:
            TransientError: `patience` went by without a success.
        """
        if self._make is None or self._process.stopping.is_set():
            return
        identifier = self._make()
        try:
            self._send_all(identifier)
        except TransientError:
            if not self._process.stopping.is_set():
                raise

    def _send_all(self, identifier: "IdentifySender") -> None:
        while batch := self._next():
            for attempt in retrying(self._patience, self._process.stopping):
                with attempt:
                    try:
                        done = identifier.send(batch)
                    except UnreadableDirectoryError as error:
                        # They wait on: the next backfill sends what this one may not read.
                        log.warning("identify.postponed", reason=str(error), hint=error.hint)
                        return
            with self._lock:
                before = self.done
                self.done = Identified(
                    sent=before.sent + done.sent, left_out=before.left_out + done.left_out
                )

    def _next(self) -> Sequence[QueuedIdentify]:
        with self._lock:
            self.is_begun = True
            if self._process.stopping.is_set():
                return ()
            batch = self._queue.pending_identifies(self._cursor, USERS_PER_BATCH)
            if batch:
                self._cursor = (batch[-1].who.user_id, batch[-1].who.sent_as)
            return batch


class IdentifySender:
    """Sends what is due to users who await it.

    Left out is who was identified since they began to wait, or since `begun_at`: then a newer event has told of them.
    With `only_news` also who would be told the same again.
    """

    def __init__(
        self,
        queue: PendingIdentifies,
        directory: ProfileDirectory,
        translator: HistoryTranslator,
        sender: BatchSender,
        *,
        begun_at: datetime,
        only_news: bool,
        turn: Callable[[int], None] = lambda count: None,  # noqa: ARG005 - at once
    ) -> None:
        self._turn = turn
        self._queue = queue
        self._directory = directory
        self._translator = translator
        self._sender = sender
        self._begun_at = begun_at
        self._only_news = only_news

    def send(self, batch: Sequence[QueuedIdentify]) -> Identified:
        """Identifies these; durable when it returns. A crash between sends them again under the same ids.

        Raises:
            TransientError, FatalError: from the directory, the sink or the ledger; all of them still wait.
        """
        # First the wait: what is read before it is old after it.
        self._turn(len(batch))
        profiles = self._profiles(batch)
        made: list[tuple[QueuedIdentify, Identify]] = []
        for entry in batch:
            profile = profiles.get(entry.who.user_id)
            message = self._translator.identify(entry.who, profile) if profile else None
            if message is not None:
                made.append((entry, message))
        # Asked after the profiles were read: whom the daemon identifies now has newer traits already.
        known = self._queue.last_sent(
            [message.fingerprint.key for _, message in made if message.fingerprint]
        )
        due = [message for entry, message in made if not self._is_known(message, entry, known)]
        delivery = self._sender.deliver(tuple(due))
        refused = {refusal.message.message_id for refusal in delivery.refusals}
        if any(message.message_id not in delivery.acknowledged | refused for message in due):
            raise UnaccountedError("an identify is neither acknowledged nor refused")
        for refusal in delivery.refusals:
            log.warning("identify.refused", log_id=refusal.message.log_id, status=refusal.status)
        sent = [message for message in due if message.message_id in delivery.acknowledged]
        said = {
            message.fingerprint.key: message.fingerprint.value
            for message in sent
            if message.fingerprint
        }
        at = max((message.timestamp for message in sent), default=self._begun_at)
        self._queue.record_identified([entry.who for entry in batch], said, at)
        return Identified(sent=len(sent), left_out=len(batch) - len(sent))

    def _profiles(self, batch: Sequence[QueuedIdentify]) -> Profiles:
        try:
            return self._directory.of(sorted({entry.who.user_id for entry in batch}))
        except FatalError as error:
            raise UnreadableDirectoryError(str(error), code=error.code, hint=error.hint) from None

    def _is_known(
        self, message: Identify, entry: QueuedIdentify, known: Mapping[str, LastSent]
    ) -> bool:
        said = known.get(message.fingerprint.key) if message.fingerprint else None
        if message.fingerprint is None or said is None or said.fingerprint == PARTIAL:
            return False
        is_since = said.at >= min(entry.queued_at, self._begun_at)
        return is_since or (self._only_news and said.fingerprint == message.fingerprint.value)
