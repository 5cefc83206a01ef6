"""The catch-up: what an outage left unread becomes slices, and the live span begins anew."""

from collections.abc import Sequence
from dataclasses import replace

from poller.adapters.sql_ledger.stores.base import StreamStore
from poller.adapters.sql_ledger.tables.fences import check_fence, lower_fence
from poller.adapters.sql_ledger.tables.last_sent import note_read_late
from poller.adapters.sql_ledger.tables.spans import (
    end_span,
    find_unmoved,
    insert_span,
    join_spans,
    read_spans,
)
from poller.adapters.sql_ledger.tables.stretches import read_revisits
from poller.core.errors import ConflictError
from poller.core.log_ids import LogId, moment_of
from poller.core.spans import Inherited, LogCursor, Span, catch_up_slices, unfinished_catch_up


class CatchUpStore(StreamStore):
    """The slices of catch-ups. They belong to the daemon, which walks them beside the live span.

    A backfill takes them while no daemon runs.
    """

    def hand_back(self, cursor: LogCursor, fence: int) -> None:
        """Give a slice, between two pages, back to the earlier owner with this number.

        Raises:
            TakenOverError: a later owner has taken it over.
        """
        with self._database.writing() as connection:
            lower_fence(connection, cursor, fence)

    def begin_catch_up(self, live: Span, *, present: LogId, ends: Sequence[LogId]) -> Span:
        """End the live span at its position, and begin a new live span at `present`. Return it.

        What lies between becomes slices that end at `ends`, and one that ends at `present`. What
        is settled and not confirmed yet becomes an unread stretch. A live span that settled
        nothing is removed. All of it happens in one transaction.

        Raises:
            ValueError: `ends` do not rise, or do not lie between the position and `present`.
            TakenOverError: another owner has begun to work on the live span.
            ConflictError: the live span has moved, nobody began to work on it, or `present` is not
                above its position.
        """
        check_fence(live.fence, self._fence)
        with self._database.writing() as connection:
            spans = read_spans(connection, self._stream, self._stream_id)
            current = find_unmoved(spans, live)
            if current.until is not None or present <= current.reached:
                raise ConflictError(f"no live span lies below {present}")
            if (moment := moment_of(current.reached)) is not None:
                # The live span was late, so what it told last of its users is as old as that.
                note_read_late(connection, self._stream_id, moment)
            slices, new = catch_up_slices(current, present=present, ends=ends)
            end_span(connection, self._stream_id, current, current.reached)
            for each in slices:
                insert_span(connection, self._stream_id, replace(each, fence=self._fence))
            begun = insert_span(connection, self._stream_id, replace(new, fence=self._fence))
            join_spans(connection, self._stream, self._stream_id)
            return begun

    def is_daemon_running(self) -> bool:
        """Return whether a daemon holds the ledger, so that it walks the slices of catch-ups."""
        return self._database.holder_of("run") is not None

    def backlog(self) -> tuple[LogCursor, ...]:
        """Return the slices of catch-ups and the inherited parts that are not finished."""
        own = (self._stream, self._stream_id)
        with self._database.reading() as connection:
            slices = unfinished_catch_up(read_spans(connection, *own))
            revisits = read_revisits(connection, *own)
        return (*slices, *(each for each in revisits if isinstance(each, Inherited)))
