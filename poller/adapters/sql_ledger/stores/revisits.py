"""Stretches that are read once more: gaps that can be read after all, and what is sent again."""

from collections.abc import Sequence

from poller.adapters.sql_ledger.stores.base import StreamStore
from poller.adapters.sql_ledger.tables.stretches import Revisit, begin_revisits, read_revisits
from poller.core.log_ids import LogId, just_below, predecessor
from poller.core.spans import Gap, ReopenedGap, Resend


class RevisitStore(StreamStore):
    """The revisits of a stream. A backfill begins them and walks them like spans."""

    def revisits(self) -> tuple[Revisit, ...]:
        """Return the revisits that are not finished, by `after`."""
        with self._database.reading() as connection:
            return read_revisits(connection, self._stream, self._stream_id)

    def begin_resends(self, stretches: Sequence[tuple[LogId, LogId]]) -> tuple[Revisit, ...]:
        """Record stretches `(after, until]` that are to be sent again, settled or not."""
        with self._database.writing() as connection:
            return begin_revisits(
                connection, self._stream, self._stream_id, Resend, stretches, fence=self._fence
            )

    def reopen_gap(self, gap: Gap, oldest: LogId) -> Revisit:
        """Record that the gap can be read again, from the oldest event that the tenant keeps.

        The gap stays recorded. Each page that is read takes its part out of the gap.
        """
        after = max(gap.after, just_below(oldest))
        until = predecessor(gap.before) or gap.before
        with self._database.writing() as connection:
            (reopened,) = begin_revisits(
                connection,
                self._stream,
                self._stream_id,
                ReopenedGap,
                [(after, until)],
                fence=self._fence,
            )
            return reopened
