"""The dead letters of every stream: to look at, to discard, and to send again; needs no secret."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, delete, select, tuple_

from poller.adapters.sql_ledger import settle
from poller.adapters.sql_ledger.sqlite import driver
from poller.adapters.sql_ledger.sqlite.database import Database
from poller.adapters.sql_ledger.tables import rows, schema, totals
from poller.core.events import LogEvent, Stream, parse_events
from poller.core.log_ids import LogId
from poller.core.settlement import DEAD_LETTERED, DISCARDED, FORWARDED, count_sent
from poller.core.text.json_text import decode

DEAD_LETTERS_PER_PAGE = 1000
"""Letters read at once."""

_HEADING = tuple(
    schema.dead_letter.c[name]
    for name in ("stream_id", "log_id", "type", "reason", "status", "dead_lettered_at")
)
"""The columns of an index, so that no page of the table is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter:
    """A dead letter without its event, which is personal data. `dead_lettered_at` is the server's time."""

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
        """Raises:
        TransientError: locked.
        FatalError: missing, gone since it was made, not readable, damaged, of another version.
        """
        path = driver.ledger_path(url)
        return cls(
            Database.open(path, create=False) if to_change else Database.open_read_only(path)
        )

    def close(self) -> None:
        self._database.close()

    def pages(
        self,
        *,
        stream: Stream | None = None,
        log_ids: Collection[str] = (),
        reason: str | None = None,
        size: int = DEAD_LETTERS_PER_PAGE,
    ) -> Iterator[tuple[StoredDeadLetter, ...]]:
        """Yield those that match all that is given, oldest log id first, in pages of at most `size`.

        Each page is read when it is asked for. Letters may come and go between two pages.
        """
        columns = schema.dead_letter.c
        wanted = [] if reason is None else [columns.reason == reason]
        if not log_ids:
            yield from self._read(stream, wanted, size)
            return
        ids = sorted(set(log_ids))
        for start in range(0, len(ids), DEAD_LETTERS_PER_PAGE):
            yield from self._read(
                stream,
                [*wanted, columns.log_id.in_(ids[start : start + DEAD_LETTERS_PER_PAGE])],
                size,
            )

    def count(self, *, stream: Stream | None = None, reason: str | None = None) -> int:
        """Return how many there are of this stream and reason."""
        with self._database.reading() as connection:
            known = rows.streams(connection)
            found = (
                totals.dead_letters_by_reason(connection, key)
                for each, key in known.items()
                if stream in {None, each}
            )
            return sum(
                number for each in found for why, number in each.items() if reason in {None, why}
            )

    def events(self, letters: Iterable[StoredDeadLetter]) -> dict[StoredDeadLetter, str]:
        """Return the events of these letters as JSON text: personal data. A letter that is gone is left out."""
        columns = schema.dead_letter.c
        found = {}
        with self._database.reading() as connection:
            known = rows.streams(connection)
            for letter in letters:
                query = select(columns.event).where(*_same(known, letter))
                event = connection.scalar(query)
                if event is not None:
                    found[letter] = str(event)
        return found

    def _read(
        self, stream: Stream | None, wanted: Sequence[ColumnElement[bool]], size: int
    ) -> Iterator[tuple[StoredDeadLetter, ...]]:
        order = (schema.dead_letter.c.log_id, schema.dead_letter.c.stream_id)
        query = select(*_HEADING).where(*wanted).order_by(*order).limit(size)
        after: list[ColumnElement[bool]] = []
        while True:
            with self._database.reading() as connection:
                known = {key: found for found, key in rows.streams(connection).items()}
                mine = [order[1] == key for key, found in known.items() if found == stream]
                if stream is not None and not mine:
                    return
                found = connection.execute(query.where(*after, *mine)).all()
            if found:
                yield tuple(_letter(row, known) for row in found)
            if len(found) < size:
                return
            after = [tuple_(*order) > (found[-1].log_id, found[-1].stream_id)]

    def discard(self, letters: Iterable[StoredDeadLetter]) -> int:
        """Remove them for good, and count them as discarded; return how many were still there."""
        with self._database.writing() as connection:
            return discard_letters(connection, letters)

    def mark_replayed(
        self, delivered: Iterable[tuple[StoredDeadLetter, LogEvent, Sequence[str]]]
    ) -> int:
        """Remove those that Segment has acknowledged by now, and count their events as forwarded.

        With each letter comes its event, and the names of the tracks that were sent for it.
        """
        with self._database.writing() as connection:
            known = rows.streams(connection)
            revived = 0
            for letter, event, names in delivered:
                if _remove(connection, known, letter):
                    revived += 1
                    key, at = known[letter.stream], letter.dead_lettered_at
                    origin = settle.recount(connection, key, event, DEAD_LETTERED, FORWARDED, at)
                    sent = count_sent([(event, name) for name in names], at, origin=origin)
                    settle.count_tracks(connection, key, sent)
            return revived


def discard_letters(connection: Connection, letters: Iterable[StoredDeadLetter]) -> int:
    """Remove these letters within the transaction at hand; see `DeadLetterStore.discard`."""
    known = rows.streams(connection)
    discarded = 0
    for letter in letters:
        removed = (
            delete(schema.dead_letter)
            .where(*_same(known, letter))
            .returning(schema.dead_letter.c.event)
        )
        text = connection.scalar(removed)
        if text is not None:
            discarded += 1
            event, key = event_of(letter, str(text)), known[letter.stream]
            settle.recount(
                connection, key, event, DEAD_LETTERED, DISCARDED, letter.dead_lettered_at
            )
    return discarded


def letters_with_events(connection: Connection) -> Iterator[tuple[StoredDeadLetter, str]]:
    """Yield all dead letters, each with its event as JSON text, which is personal data."""
    known = {key: found for found, key in rows.streams(connection).items()}
    columns = schema.dead_letter.c
    for row in connection.execute(select(*_HEADING, columns.event).order_by(columns.log_id)):
        yield _letter(row, known), row.event


def event_of(letter: StoredDeadLetter, text: str) -> LogEvent:
    """Return the event under the id that it was buried by, which an unreadable record does not hold."""
    (event,) = parse_events([decode(text)], after=letter.log_id)
    return replace(event, log_id=letter.log_id)


def discard_before(database: Database, stream_id: int, moment: datetime) -> int:
    """Removes the letters of one stream that were buried before `moment`; returns how many."""
    columns = schema.dead_letter.c
    old = delete(schema.dead_letter).where(
        columns.stream_id == stream_id, columns.dead_lettered_at < moment
    )
    with database.writing() as connection:
        return connection.execute(old).rowcount


def _same(known: dict[Stream, int], letter: StoredDeadLetter) -> tuple[ColumnElement[bool], ...]:
    columns = schema.dead_letter.c
    return columns.stream_id == known[letter.stream], columns.log_id == letter.log_id


def _remove(connection: Connection, known: dict[Stream, int], letter: StoredDeadLetter) -> int:
    return connection.execute(delete(schema.dead_letter).where(*_same(known, letter))).rowcount


def _letter(row: Any, known: dict[int, Stream]) -> StoredDeadLetter:
    return StoredDeadLetter(
        stream=known[row.stream_id],
        log_id=row.log_id,
        type=row.type,
        reason=row.reason,
        status=row.status,
        dead_lettered_at=row.dead_lettered_at,
    )
