"""The identifies at the end of a backfill: one for each user, with the profile as it is then.

A backfill sends only the tracks of old events. An identify with each of them would cost a request
for every login, and would tell Segment old traits again and again. So the settle of a page records
which users it showed, and when all pages are settled, each user gets one identify.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

import structlog

from poller.core.counts import Acknowledged, acknowledged_of
from poller.core.delivery import BatchSender
from poller.core.errors import FatalError, TransientError
from poller.core.messages import Delivery, Fingerprint, Identify
from poller.core.outcomes import PendingIdentify, Profiles, QueuedIdentify
from poller.core.ports import ProfileDirectory
from poller.core.settlement import UnaccountedError
from poller.core.translation.change_detection import PARTIAL, LastSent
from poller.core.translation.translator import HistoryTranslator
from poller.service.lifecycle.process import Work
from poller.service.upstream.retry import LONG_PATIENCE, retrying

USERS_PER_BATCH = 73
"""Users of one search in Auth0 and of one batch to Segment.

The query of a search has a limit on its length. So many ids of the form `google-oauth2|…`, which
have 38 characters, just fit into one.
"""

Role = Literal["run", "backfill"]

log = structlog.get_logger()


class PendingIdentifies(Protocol):
    """The part of a ledger that knows who still needs an identify. Thread-safe."""

    def claim_identifies(
        self, role: Role, after: tuple[str, str], limit: int
    ) -> Sequence[QueuedIdentify]:
        """Return up to `limit` users above `after`, by user id and the id sent to Segment.

        A process of the other role gets none of them while this one runs.
        """
        ...

    def last_sent(self, keys: Sequence[str]) -> Mapping[str, LastSent]:
        """Return what was last sent, and when, by key."""
        ...

    def record_identified(
        self,
        users: Sequence[PendingIdentify],
        fingerprints: Mapping[str, str],
        at: datetime,
        acknowledged: Sequence[Acknowledged],
    ) -> None:
        """Record that these users are done, and what was sent about them at this time."""
        ...


class UnreadableDirectoryError(FatalError):
    """The users of the tenant cannot be read until someone acts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """The number of users who were identified, and of users who were left out.

    A user is left out whom Segment knows already, who was deleted, or whom Segment refused.
    """

    sent: int = 0
    left_out: int = 0

    def __add__(self, other: "Identified") -> "Identified":
        return Identified(sent=self.sent + other.sent, left_out=self.left_out + other.left_out)


class IdentifyRunner:
    """Sends every pending identify, batch by batch. Any number of threads may work at it.

    The threads share a cursor through the queue, so that each batch goes to one of them.
    `make_sender` is None if no identifies are to be sent. `role` is the role of this process: the
    daemon and a backfill may both run, and each user belongs to one of them.
    """

    def __init__(
        self,
        queue: PendingIdentifies,
        process: Work,
        make_sender: "Callable[[], IdentifySender] | None",
        *,
        role: Role,
        patience: timedelta = LONG_PATIENCE,
    ) -> None:
        self._queue = queue
        self._process = process
        self._make_sender = make_sender
        self._role = role
        self._patience = patience
        self._lock = threading.Lock()
        self._cursor = ("", "")
        self.is_begun = False
        self.done = Identified()

    def work(
        self,
        gives_way: Callable[[], bool] = lambda: False,  # every thread works to the end
    ) -> None:
        """Send identifies until none is left, or until the process or this thread is to end.

        Raises:
            TransientError: `patience` went by without a success.
        """
        if self._make_sender is None or self._process.stopping.is_set():
            return
        try:
            self._send_all(self._make_sender(), gives_way)
        except TransientError:
            # A stop interrupts the wait for the next attempt.
            if not self._process.stopping.is_set():
                raise

    def _send_all(self, sender: "IdentifySender", gives_way: Callable[[], bool]) -> None:
        while batch := self._next_batch():
            for attempt in retrying(self._patience, self._process.stopping):
                with attempt:
                    try:
                        done = sender.send(batch)
                    except UnreadableDirectoryError as error:
                        # The users stay pending. The next backfill identifies them, once someone
                        # has given this program the right to read users.
                        log.warning("identify.postponed", reason=str(error), hint=error.hint)
                        return
            with self._lock:
                self.done += done
            if gives_way():
                return

    def _next_batch(self) -> Sequence[QueuedIdentify]:
        with self._lock:
            self.is_begun = True
            if self._process.stopping.is_set():
                return ()
            batch = self._queue.claim_identifies(self._role, self._cursor, USERS_PER_BATCH)
            if batch:
                self._cursor = (batch[-1].who.user_id, batch[-1].who.sent_as)
            return batch


class IdentifySender:
    """Identifies users whose identify is pending. Each thread has its own sender.

    A user is left out who was identified since the identify became pending, or since `begun_at`:
    the daemon has sent newer traits then. With `only_news`, a user is also left out about whom the
    message would say the same as the last one.

    `wait_turn` waits until so many messages may be sent.
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
        wait_turn: Callable[[int], None] = lambda count: None,  # noqa: ARG005 - no limit
    ) -> None:
        self._queue = queue
        self._directory = directory
        self._translator = translator
        self._sender = sender
        self._begun_at = begun_at
        self._only_news = only_news
        self._wait_turn = wait_turn

    def send(self, batch: Sequence[QueuedIdentify]) -> Identified:
        """Identify these users. The result is durable when this returns.

        A crash in between sends them again, under the same message ids.

        Raises:
            TransientError, FatalError: from the directory, the sink or the ledger. All users of
                the batch stay pending.
        """
        # Wait first. A profile that is read before a long wait would be old after it.
        self._wait_turn(len(batch))
        messages = self._unknown(self._messages(batch, self._profiles(batch)))
        delivery = self._sender.deliver(messages)
        _check(messages, delivery)
        acknowledged = tuple(acknowledged_of(messages, delivery))
        sent = [message for message, _ in acknowledged]
        fingerprints = {
            message.fingerprint.key: message.fingerprint.value
            for message in sent
            if message.fingerprint
        }
        at = max((message.timestamp for message in sent), default=self._begun_at)
        users = [entry.who for entry in batch]
        self._queue.record_identified(users, fingerprints, at, acknowledged)
        return Identified(sent=len(sent), left_out=len(batch) - len(sent))

    def _profiles(self, batch: Sequence[QueuedIdentify]) -> Profiles:
        try:
            return self._directory.of(sorted({entry.who.user_id for entry in batch}))
        except FatalError as error:
            raise UnreadableDirectoryError(str(error), code=error.code, hint=error.hint) from None

    def _messages(
        self, batch: Sequence[QueuedIdentify], profiles: Profiles
    ) -> list[tuple[QueuedIdentify, Identify]]:
        """Return the identifies of the users who exist, and whose identify is not too large."""
        messages = (
            (entry, self._translator.identify(entry.who, profiles[entry.who.user_id]))
            for entry in batch
            if entry.who.user_id in profiles
        )
        return [(entry, message) for entry, message in messages if message is not None]

    def _unknown(self, messages: Sequence[tuple[QueuedIdentify, Identify]]) -> tuple[Identify, ...]:
        """Return the messages about users of whom Segment does not know this already.

        The ledger is asked after the profiles are read. If the daemon identifies a user in this
        moment, the daemon's profile is at least as new as ours, so ours is left out.
        """
        keys = [message.fingerprint.key for _, message in messages if message.fingerprint]
        known = self._queue.last_sent(keys)
        return tuple(
            message
            for entry, message in messages
            if message.fingerprint is None
            or not self._is_known(message.fingerprint, entry, known.get(message.fingerprint.key))
        )

    def _is_known(
        self, fingerprint: Fingerprint, entry: QueuedIdentify, last: LastSent | None
    ) -> bool:
        if last is None or last.fingerprint == PARTIAL:
            return False
        if last.at >= min(entry.queued_at, self._begun_at):
            return True
        return self._only_news and last.fingerprint == fingerprint.value


def _check(messages: Sequence[Identify], delivery: Delivery) -> None:
    """Log every refusal, and prove that each message is either acknowledged or refused."""
    for refusal in delivery.refusals:
        log.warning("identify.refused", log_id=refusal.message.log_id, status=refusal.status)
    refused = {refusal.message.message_id for refusal in delivery.refusals}
    if any(each.message_id not in delivery.acknowledged | refused for each in messages):
        raise UnaccountedError("an identify is neither acknowledged nor refused")
