"""A changed write key: the key of the source was rotated, or the key before was wrong.

The caller holds the locks of `run` and `backfill`, so that no process works on the stream.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Column, ColumnElement, Connection, Table, delete, func, select

from poller.adapters.sql_ledger.places import open_database
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.gaps import read_gaps
from poller.adapters.sql_ledger.tables.hourly_counts import move_undelivered
from poller.adapters.sql_ledger.tables.spans import read_spans
from poller.adapters.sql_ledger.tables.streams import label, read_streams, rename
from poller.adapters.sql_ledger.tables.stretches import (
    begin_revisits,
    cut_out_inherited,
    read_revisits,
)
from poller.core.count_names import LOG
from poller.core.errors import FatalError
from poller.core.events import NamesInIds, Stream
from poller.core.log_ids import LogId, moment_of, predecessor
from poller.core.spans import LogRange, Redelivery, ReopenedGap, clip, difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """Everything of a stream that went to a wrong write key since a position of the log.

    `events` are the counts by outcome, in whole hours. `tracks` are the
    counts of what was sent, by name. `told` is the number of users and memberships that an
    identify or group call was sent about. `files` is the number of files that were read.
    `position` is the position of the daemon.
    """

    ranges: tuple[LogRange, ...]
    events: Mapping[str, int]
    tracks: Mapping[str, int]
    told: int
    files: int
    position: LogId | None


def rotate_key(url: str, stream: Stream, renamed: Stream) -> None:
    """Let the stream go on under the names in `renamed`. Its message ids keep the earlier names.

    Raises:
        FatalError: there is no such stream, or another one has these names.
        TransientError: the ledger is locked.
    """
    with _writing(url) as connection:
        stream_id = _find(connection, stream, renamed)
        names = _names_in_ids(connection, stream)
        is_same = [(each.source_name, each.generation) for each in names] == [
            (renamed.source_name, renamed.generation)
        ]
        rename(connection, stream_id, replace(renamed, in_ids=() if is_same else names))


def find_undelivered(
    url: str, stream: Stream, since: LogId, until: LogId | None = None
) -> Undelivered:
    """Return what is to be sent again, if nothing arrived since this position, or in this range.

    Raises:
        FatalError, TransientError: the ledger cannot be read.
    """
    with closing(open_database(url, change=False)) as database, database.reading() as connection:
        stream_id = read_streams(connection)[stream]
        return _undelivered(connection, stream, stream_id, since, until)


def redeliver(
    url: str,
    stream: Stream,
    renamed: Stream,
    since: LogId,
    until: LogId | None = None,
    *,
    generation: str,
) -> None:
    """Record that nothing arrived since this position, so that a backfill sends it again.

    The message ids of all events above it are made of the source name in `renamed` and of
    `generation`. What was last sent since then is forgotten. What lies below stays settled, and
    keeps its ids. So does what lies above `until`, whose messages arrived.

    Raises:
        FatalError: there is no such stream, or another one has these names.
        TransientError: the ledger is locked.
    """
    with _writing(url) as connection:
        stream_id = _find(connection, stream, renamed)
        lost = _undelivered(connection, stream, stream_id, since, until)
        stretches = [(each.after, each.until) for each in lost.ranges]
        cut_out_inherited(connection, stream, stream_id, lost.ranges)
        begin_revisits(connection, stream, stream_id, Redelivery, stretches)
        move_undelivered(connection, stream_id, moment_of(since))
        connection.execute(delete(schema.last_sent).where(*_told_since(stream_id, since)))
        new = NamesInIds(after=since, source_name=renamed.source_name, generation=generation)
        names = _with(new, _names_in_ids(connection, stream), until)
        rename(connection, stream_id, replace(renamed, in_ids=names))


def _with(
    new: NamesInIds, known: Sequence[NamesInIds], until: LogId | None
) -> tuple[NamesInIds, ...]:
    """Put new names in place of those that were known, up to `until`."""
    below = [each for each in known if each.after < new.after]
    if until is None:
        return (*below, new)
    at_until = [replace(each, after=until) for each in known if each.after <= until][-1:]
    return (*below, new, *at_until, *(each for each in known if each.after > until))


@contextmanager
def _writing(url: str) -> Iterator[Connection]:
    with closing(open_database(url, change=True)) as database, database.writing() as connection:
        yield connection


def _find(connection: Connection, stream: Stream, renamed: Stream) -> int:
    streams = read_streams(connection)
    if stream not in streams:
        raise FatalError(
            f"nothing of {label(stream)} is in the ledger",
            code="stream-unknown",
            hint="see `ledger show`",
        )
    if renamed != stream and renamed in streams:
        raise FatalError(
            f"the ledger holds {label(renamed)} beside {label(stream)}",
            code="stream-ambiguous",
            hint=f"if it was begun by mistake, remove it: `ledger remove-stream --source-name "
            f"{renamed.source_name}`",
        )
    return streams[stream]


def _names_in_ids(connection: Connection, stream: Stream) -> tuple[NamesInIds, ...]:
    """Return the names that the message ids of the stream were made of so far."""
    known = next(each for each in read_streams(connection) if each == stream)
    own = NamesInIds(source_name=known.source_name, generation=known.generation)
    return known.in_ids or (own,)


def _undelivered(
    connection: Connection, stream: Stream, stream_id: int, since: LogId, until: LogId | None
) -> Undelivered:
    spans = read_spans(connection, stream, stream_id)
    live = next((span for span in spans if span.is_live), None)
    return Undelivered(
        ranges=_ranges(connection, stream, stream_id, since, until),
        events=_counts(connection, stream_id, since, until, schema.hourly_event_count, "outcome"),
        tracks=_counts(
            connection, stream_id, since, until, schema.hourly_track_count, "track_name"
        ),
        told=_number(connection, schema.last_sent, _told_since(stream_id, since)),
        files=_number(connection, schema.file_mark, _read_since(stream_id, since)),
        position=live.reached if live else None,
    )


def _ranges(
    connection: Connection, stream: Stream, stream_id: int, since: LogId, until: LogId | None
) -> tuple[LogRange, ...]:
    """Return what was settled in the range, without what is lost or was not read yet."""
    spans = read_spans(connection, stream, stream_id)
    settled = [LogRange(after=span.after, until=span.reached) for span in spans]
    lost = [
        LogRange(after=gap.after, until=predecessor(gap.before) or gap.before)
        for gap in read_gaps(connection, stream_id)
        if not gap.is_read_once
    ]
    not_read = [
        LogRange(after=each.reached, until=each.until or each.reached)
        for each in read_revisits(connection, stream, stream_id)
        if isinstance(each, ReopenedGap | Redelivery)
    ]
    highest = until or max((each.until for each in settled), default=since)
    return clip(difference(settled, [*lost, *not_read]), since, highest)


def _counts(
    connection: Connection,
    stream_id: int,
    since: LogId,
    until: LogId | None,
    table: Table,
    name: str,
) -> dict[str, int]:
    """Return the counts of the log in a table of hours, by the column of this name."""
    columns, begin, end = table.c, moment_of(since), moment_of(until) if until else None
    count = columns["events" if "events" in columns else "tracks"]
    conditions = [columns.stream_id == stream_id, columns.origin == LOG]
    if begin is not None:
        hour = begin.replace(minute=0, second=0, microsecond=0)
        conditions.append(columns.hour >= hour)
    if end is not None:
        conditions.append(columns.hour <= end)
    query = select(columns[name], func.sum(count)).where(*conditions).group_by(columns[name])
    return {key: int(number) for key, number in connection.execute(query)}


def _number(connection: Connection, table: Table, conditions: list[ColumnElement[bool]]) -> int:
    query = select(func.count()).select_from(table).where(*conditions)
    return int(connection.scalar(query) or 0)


def _told_since(stream_id: int, since: LogId) -> list[ColumnElement[bool]]:
    columns = schema.last_sent.c
    return _since(columns.stream_id == stream_id, columns.sent_at, since)


def _read_since(stream_id: int, since: LogId) -> list[ColumnElement[bool]]:
    columns = schema.file_mark.c
    return _since(columns.stream_id == stream_id, columns.settled_at, since)


def _since(
    own: ColumnElement[bool], at: Column[datetime], since: LogId
) -> list[ColumnElement[bool]]:
    """Return the conditions for rows of a stream since the time of a position.

    A position without a time lies below every time.
    """
    moment = moment_of(since)
    return [own] if moment is None else [own, at >= moment]
