"""Fingerprints of what was last sent, and the users who still need an identify."""

import copy
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Self

from sqlalchemy import Connection

from poller.adapters.sql_ledger.lock import ROLES, Role
from poller.adapters.sql_ledger.stores.base import StreamStore
from poller.adapters.sql_ledger.tables.fences import check_fence
from poller.adapters.sql_ledger.tables.hourly_counts import add_acknowledged
from poller.adapters.sql_ledger.tables.last_sent import (
    forget_before,
    read_last_sent,
    record_last_sent,
)
from poller.adapters.sql_ledger.tables.pending_identifies import (
    count_pending,
    read_fence,
    read_pending,
    remove_sent,
    take_over,
)
from poller.core.counts import Acknowledged, count_acknowledged
from poller.core.log_ids import LogId
from poller.core.outcomes import PendingIdentify, QueuedIdentify
from poller.core.translation.change_detection import LastSent


class IdentifyStore(StreamStore):
    """Fingerprints of what was last sent, and the queue of identifies that are sent at the end."""

    _sent_since: datetime | None = None

    def last_fingerprints(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the fingerprints of what was last sent, by key. A new key is missing."""
        return {key: sent.fingerprint for key, sent in self.last_sent(keys).items()}

    def last_sent(self, keys: Sequence[str]) -> dict[str, LastSent]:
        """Return what was last sent, and when, by key. A new key is missing."""
        if not keys:
            return {}
        with self._database.reading() as connection:
            return read_last_sent(connection, self._stream_id, keys, since=self._sent_since)

    def ignoring_sent_before(self, moment: datetime) -> Self:
        """Return the same ledger as if nothing had been sent before this time of the server's.

        `backfill --again` uses it to send every identify once more.
        """
        other = copy.copy(self)
        other._sent_since = moment  # noqa: SLF001 - a copy of this object
        return other

    def claim_identifies(
        self, role: Role, after: tuple[str, str], limit: int
    ) -> tuple[QueuedIdentify, ...]:
        """Return up to `limit` users above `after`, by user id and the id sent to Segment.

        A process of this role is to identify them. It holds the lock of its role. Users are left
        out whose identify belongs to a process of the other role that runs now.
        """
        with self._database.writing() as connection:
            # The locks are looked at within the transaction. So a process that starts now claims
            # its rows after this one has taken them over.
            owners = self._owners(role)
            queued = read_pending(
                connection,
                self._stream_id,
                after,
                limit,
                owners=owners,
                role=role,
                fence=self._fence,
            )
            users = [each.who for each in queued]
            take_over(connection, self._stream_id, role, users, fence=self._fence)
            return queued

    def count_pending_identifies(self, role: Role | None = None) -> int:
        """Count the users who still need an identify, or those that this role would claim now."""
        owners = ROLES if role is None else self._owners(role)
        with self._database.reading() as connection:
            return count_pending(connection, self._stream_id, owners=owners)

    def _owners(self, role: Role) -> list[Role]:
        return [each for each in ROLES if each == role or self._database.holder_of(each) is None]

    def record_identified(
        self,
        users: Sequence[PendingIdentify],
        fingerprints: Mapping[str, str],
        at: datetime,
        acknowledged: Sequence[Acknowledged] = (),
    ) -> None:
        """Record that these users are done, and what was sent about them at this time.

        The acknowledged messages count as sent again if what was sent before is ignored, and for a
        user whom another process has identified meanwhile.

        Raises:
            TakenOverError: a later owner has begun to identify one of these users.
        """
        with self._database.writing() as connection:
            done = self._done_by_others(connection, users)
            is_again = self._sent_since is not None
            counts = count_acknowledged(
                acknowledged, at, is_again=lambda message: is_again or message.log_id in done
            )
            add_acknowledged(connection, self._stream_id, counts)
            record_last_sent(connection, self._stream_id, fingerprints, at)
            remove_sent(connection, self._stream_id, users)

    def _done_by_others(
        self, connection: Connection, users: Sequence[PendingIdentify]
    ) -> frozenset[LogId]:
        """Return the log ids of the users whose identify is not pending any more.

        Raises:
            TakenOverError: a later owner has begun to identify one of these users.
        """
        done = set()
        for user in users:
            fence = read_fence(connection, self._stream_id, user)
            if fence is None:
                done.add(user.log_id)
            elif fence > self._fence:
                check_fence(fence, self._fence)
        return frozenset(done)

    def forget_last_sent(self, before: datetime, *, keep: int) -> int:
        """Forget what was sent before this time of the server's, and all but the newest `keep`.

        Return the number of forgotten rows.
        """
        with self._database.writing() as connection:
            return forget_before(connection, self._stream_id, before, keep=keep)
