"""Moving the position of the daemon by hand, for `ledger set-position`."""

from collections.abc import Sequence
from contextlib import closing

from sqlalchemy import Connection

from poller.adapters.sql_ledger.places import open_database
from poller.adapters.sql_ledger.tables.fences import draw_fence
from poller.adapters.sql_ledger.tables.gaps import cut_off_gaps
from poller.adapters.sql_ledger.tables.recent_ids import cut_off_ids
from poller.adapters.sql_ledger.tables.routing import read_anew
from poller.adapters.sql_ledger.tables.spans import (
    begin_span,
    cut_off_catch_up,
    end_span,
    read_spans,
)
from poller.adapters.sql_ledger.tables.streams import (
    NO_STREAM_ID,
    label,
    note_beginning,
    note_resent,
    read_streams,
)
from poller.adapters.sql_ledger.tables.stretches import cut_off_stretches
from poller.core.errors import FatalError
from poller.core.events import Stream
from poller.core.log_ids import LogId
from poller.core.spans import LogRange, Span


def set_position(url: str, stream: Stream, position: LogId) -> Span:
    """Let the live span of the stream go on at this position. Return the new live span.

    What was settled below stays settled, as a span with an end. Moving the position forward skips
    a part of the log. The skipped part belongs to no span, so that a backfill finds it. Moving the
    position back sends everything above it again, under the same message ids. What a catch-up has
    still to send below the position stays in its slices.

    The caller holds the lock of `run`, so that no daemon works on the span.

    Raises:
        FatalError: there is no such stream, it has no live span, or the position lies below the
            end of another span.
        TransientError: the ledger is locked.
    """
    with closing(open_database(url, change=True)) as database, database.writing() as connection:
        return _move(connection, stream, position)


def _move(connection: Connection, stream: Stream, position: LogId) -> Span:
    stream_id = read_streams(connection).get(stream, NO_STREAM_ID)
    spans = read_spans(connection, stream, stream_id)
    live = next((span for span in spans if span.is_live), None)
    if live is None:
        raise FatalError(
            f"nothing of {label(stream)} has been begun",
            code="stream-unknown",
            hint="`run` begins it, at [poll] start",
        )
    _refuse_settled(spans, position)
    if position < live.reached:
        note_resent(connection, stream_id, LogRange(after=position, until=live.reached))
        # The log is read anew from the position, so nothing is known above it any more.
        cut_off_ids(connection, stream_id, position)
        cut_off_gaps(connection, stream_id, position)
        cut_off_stretches(connection, stream_id, position)
        cut_off_catch_up(connection, stream_id, spans, position)
        read_anew(connection, stream, position)
    note_beginning(connection, stream_id, position)
    end_span(connection, stream_id, live, min(live.reached, position))
    fence = draw_fence(connection, stream_id)
    new = Span.unsettled(stream, after=position, until=None, fence=fence)
    return begin_span(connection, stream_id, new)


def _refuse_settled(spans: Sequence[Span], position: LogId) -> None:
    for span in spans:
        if span.until is not None and span.until > position and not span.is_catch_up:
            raise FatalError(
                f"{position} lies below the end of the span above {span.after}",
                code="position-settled",
                hint=f"a live span begins at {span.until} or above; "
                "what lies below is a backfill's",
            )
