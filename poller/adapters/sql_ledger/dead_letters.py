"""The dead letters of every stream: listing, discarding and replaying them. Needs no secret."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, delete, select, tuple_

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.places import open_database
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.hourly_counts import (
    add_acknowledged,
    add_tracks,
    change_outcome,
)
from poller.adapters.sql_ledger.tables.streams import NO_STREAM_ID, read_streams, recorded
from poller.adapters.sql_ledger.tables.totals import dead_letters_by_reason
from poller.core.count_names import DEAD_LETTERED, DISCARDED, FORWARDED
from poller.core.counts import Acknowledged, count_acknowledged, count_sent
from poller.core.events import LogEvent, Stream, parse_events
from poller.core.log_ids import LogId
from poller.core.text.json_text import decode

DEAD_LETTERS_PER_PAGE = 1000

_LISTED = tuple(
    schema.dead_letter.c[name]
    for name in ("stream_id", "log_id", "type", "reason", "status", "dead_lettered_at")
)
"""The columns of the index `dead_letter_in_order`. A list reads only the index and not the table,
whose rows hold whole events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter:
    """A dead letter without its event, which is personal data.

    `dead_lettered_at` is a time of the server's.
    """

    stream: Stream
    log_id: LogId
    type: str
    reason: str
    status: int | None
    dead_lettered_at: datetime


class DeadLetterStore:
    """Reads and removes dead letters, also while the daemon writes them. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, to_change: bool = False) -> Self:
        """Open the ledger, for reading only unless `to_change` is set.

        Raises:
            TransientError: the ledger is locked.
            FatalError: the ledger is missing, was removed after it was made, is not readable or
                damaged, or has another version.
        """
        return cls(open_database(url, change=to_change))

    def close(self) -> None:
        self._database.close()

    def recorded(self, stream: Stream) -> Stream:
        """Return the stream of the settings as the ledger records it, with its names in ids."""
        with self._database.reading() as connection:
            return recorded(read_streams(connection), stream) or stream

    def pages(
        self,
        *,
        stream: Stream | None = None,
        log_ids: Collection[str] = (),
        reason: str | None = None,
        after: str = "",
        size: int = DEAD_LETTERS_PER_PAGE,
    ) -> Iterator[tuple[StoredDeadLetter, ...]]:
        """Yield the dead letters that match every argument, by log id, in pages of at most `size`.

        They begin above the log id `after`. Each page is read when it is asked for, so dead letters
        may come and go between two pages.
        """
        columns = schema.dead_letter.c
        conditions = [] if reason is None else [columns.reason == reason]
        if after:
            conditions.append(columns.log_id > after)
        if not log_ids:
            yield from self._read_pages(stream, conditions, size)
            return
        ids = sorted(set(log_ids))
        for start in range(0, len(ids), DEAD_LETTERS_PER_PAGE):
            some = columns.log_id.in_(ids[start : start + DEAD_LETTERS_PER_PAGE])
            yield from self._read_pages(stream, [*conditions, some], size)

    def _read_pages(
        self, stream: Stream | None, conditions: Sequence[ColumnElement[bool]], size: int
    ) -> Iterator[tuple[StoredDeadLetter, ...]]:
        order = (schema.dead_letter.c.log_id, schema.dead_letter.c.stream_id)
        query = select(*_LISTED).where(*conditions).order_by(*order).limit(size)
        while True:
            with self._database.reading() as connection:
                streams = read_streams(connection)
                own = query
                if stream is not None:
                    own = query.where(order[1] == streams.get(stream, NO_STREAM_ID))
                rows = connection.execute(own).all()
            if rows:
                yield tuple(_letters(rows, streams))
            if len(rows) < size:
                return
            last = (rows[-1].log_id, rows[-1].stream_id)
            query = (
                select(*_LISTED)
                .where(*conditions, tuple_(*order) > last)
                .order_by(*order)
                .limit(size)
            )

    def reasons(self, *, stream: Stream | None = None) -> dict[str, int]:
        """Return the number of dead letters by reason, of this stream or of all streams."""
        numbers: Counter[str] = Counter()
        with self._database.reading() as connection:
            for each, stream_id in read_streams(connection).items():
                if stream in {None, each}:
                    numbers.update(dead_letters_by_reason(connection, stream_id))
        return dict(numbers)

    def count(self, *, stream: Stream | None = None, reason: str | None = None) -> int:
        """Return the number of dead letters of this stream and reason, or of all of them."""
        numbers = self.reasons(stream=stream)
        return sum(number for why, number in numbers.items() if reason in {None, why})

    def events(self, letters: Iterable[StoredDeadLetter]) -> dict[StoredDeadLetter, str]:
        """Return the events of these dead letters as JSON text. They are personal data.

        A dead letter that was removed in the meantime is missing.
        """
        texts = {}
        with self._database.reading() as connection:
            streams = read_streams(connection)
            for letter in letters:
                query = select(schema.dead_letter.c.event).where(*_same(streams, letter))
                text = connection.scalar(query)
                if text is not None:
                    texts[letter] = str(text)
        return texts

    def discard(self, letters: Iterable[StoredDeadLetter]) -> int:
        """Delete these dead letters for good, and count their events as discarded.

        Return how many of them were still there.
        """
        with self._database.writing() as connection:
            return discard_letters(connection, letters)

    def mark_replayed(
        self,
        stream: Stream,
        delivered: Iterable[tuple[StoredDeadLetter, LogEvent, Sequence[str]]],
        acknowledged: Iterable[Acknowledged],
        settled_at: datetime,
    ) -> int:
        """Delete dead letters that Segment has acknowledged, and count their events as forwarded.

        With each dead letter comes its event, and the names of the tracks that were sent for it.
        The acknowledged messages count as sent again. Return how many of the letters were still
        there.
        """
        counts = count_acknowledged(acknowledged, settled_at, is_again=lambda _: True)
        with self._database.writing() as connection:
            streams = read_streams(connection)
            add_acknowledged(connection, streams[stream], counts)
            replayed = 0
            for letter, event, names in delivered:
                row = delete(schema.dead_letter).where(*_same(streams, letter))
                if connection.execute(row).rowcount:
                    replayed += 1
                    stream_id, at = streams[letter.stream], letter.dead_lettered_at
                    origin = change_outcome(
                        connection, stream_id, event, DEAD_LETTERED, FORWARDED, at
                    )
                    tracks = count_sent([(event, name) for name in names], at, origin=origin)
                    add_tracks(connection, stream_id, tracks)
            return replayed


def discard_letters(connection: Connection, letters: Iterable[StoredDeadLetter]) -> int:
    """Do the same as `DeadLetterStore.discard`, within the current transaction."""
    streams = read_streams(connection)
    discarded = 0
    for letter in letters:
        row = delete(schema.dead_letter).where(*_same(streams, letter))
        text = connection.scalar(row.returning(schema.dead_letter.c.event))
        if text is not None:
            discarded += 1
            event, stream_id = event_of(letter, str(text)), streams[letter.stream]
            at = letter.dead_lettered_at
            change_outcome(connection, stream_id, event, DEAD_LETTERED, DISCARDED, at)
    return discarded


def letters_with_events(connection: Connection) -> Iterator[tuple[StoredDeadLetter, str]]:
    """Yield every dead letter with its event as JSON text, which is personal data."""
    streams = read_streams(connection)
    columns = schema.dead_letter.c
    rows = connection.execute(select(*_LISTED, columns.event).order_by(columns.log_id)).all()
    for letter, row in zip(_letters(rows, streams), rows, strict=True):
        yield letter, row.event


def event_of(letter: StoredDeadLetter, text: str) -> LogEvent:
    """Return the event of a dead letter from its JSON text.

    A record that could not be read has no id, so the event takes the id of the letter.
    """
    (event,) = parse_events([decode(text)], after=letter.log_id)
    return replace(event, log_id=letter.log_id)


def discard_before(database: Database, stream_id: int, moment: datetime) -> int:
    """Delete the dead letters of one stream that are older than `moment`. Return the number.

    Their events stay counted as dead letters, since no person decided to discard them.
    """
    columns = schema.dead_letter.c
    old = delete(schema.dead_letter).where(
        columns.stream_id == stream_id, columns.dead_lettered_at < moment
    )
    with database.writing() as connection:
        return connection.execute(old).rowcount


def _same(streams: dict[Stream, int], letter: StoredDeadLetter) -> tuple[ColumnElement[bool], ...]:
    columns = schema.dead_letter.c
    return columns.stream_id == streams[letter.stream], columns.log_id == letter.log_id


def _letters(rows: Iterable[Any], streams: dict[Stream, int]) -> Iterator[StoredDeadLetter]:
    by_id = {stream_id: stream for stream, stream_id in streams.items()}
    for row in rows:
        yield StoredDeadLetter(
            stream=by_id[row.stream_id],
            log_id=row.log_id,
            type=row.type,
            reason=row.reason,
            status=row.status,
            dead_lettered_at=row.dead_lettered_at,
        )
