"""The dead letters of every stream: to look at, to discard, and to send again; needs no secret."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, delete, select

from poller.adapters.sql_ledger import recording, rows, schema, sqlite
from poller.adapters.sql_ledger.database import Database
from poller.core.events import LogEvent, LogId, Stream
from poller.core.settlement import DEAD_LETTERED, FORWARDED


@dataclass(frozen=True, slots=True, kw_only=True)
class BuriedLetter:
    """A dead letter as it is kept; `event` is the record as JSON text. `buried_at` is the server's time."""

    stream: Stream
    log_id: LogId
    type: str
    reason: str
    status: int | None
    buried_at: datetime
    event: str = field(repr=False)


class Graveyard:
    """Reads and removes dead letters, also while the daemon writes them. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, to_change: bool = False) -> Self:
        """Raises:
        TransientError: locked.
        FatalError: missing, gone since it was made, not readable, damaged, of another version.
        """
        path = sqlite.ledger_path(url)
        return cls(Database.open(path, create=False) if to_change else Database.open_read_only(path))

    def close(self) -> None:
        self._database.close()

    def letters(
        self, *, stream: Stream | None = None, log_ids: Collection[str] = (), reason: str | None = None
    ) -> tuple[BuriedLetter, ...]:
        """Those that match all that is given, oldest log id first."""
        columns = schema.dead_letter.c
        with self._database.reading() as connection:
            known = {key: found for found, key in rows.streams(connection).items()}
            query = select(schema.dead_letter).order_by(columns.log_id, columns.id)
            if log_ids:
                query = query.where(columns.log_id.in_(log_ids))
            if reason is not None:
                query = query.where(columns.reason == reason)
            found = (_letter(row, known) for row in connection.execute(query))
            return tuple(letter for letter in found if stream in {None, letter.stream})

    def discard(self, letters: Iterable[BuriedLetter]) -> int:
        """Removes them for good; returns how many were still there."""
        with self._database.writing() as connection:
            known = rows.streams(connection)
            return sum(_remove(connection, known, letter) for letter in letters)

    def revive(self, delivered: Iterable[tuple[BuriedLetter, LogEvent]]) -> int:
        """Removes those that Segment has acknowledged by now, and counts their events as forwarded."""
        with self._database.writing() as connection:
            known = rows.streams(connection)
            revived = 0
            for letter, event in delivered:
                if _remove(connection, known, letter):
                    revived += 1
                    recording.recount(
                        connection, known[letter.stream], event, DEAD_LETTERED, FORWARDED, letter.buried_at
                    )
            return revived


def discard_before(database: Database, stream_id: int, moment: datetime) -> int:
    """Removes the letters of one stream that were buried before `moment`; returns how many."""
    columns = schema.dead_letter.c
    old = delete(schema.dead_letter).where(columns.stream_id == stream_id, columns.buried_at < moment)
    with database.writing() as connection:
        return connection.execute(old).rowcount


def _remove(connection: Connection, known: dict[Stream, int], letter: BuriedLetter) -> int:
    columns = schema.dead_letter.c
    same: tuple[ColumnElement[bool], ...] = (
        columns.stream_id == known[letter.stream],
        columns.log_id == letter.log_id,
    )
    return connection.execute(delete(schema.dead_letter).where(*same)).rowcount


def _letter(row: Any, known: dict[int, Stream]) -> BuriedLetter:
    return BuriedLetter(
        stream=known[row.stream_id],
        log_id=row.log_id,
        type=row.type,
        reason=row.reason,
        status=row.status,
        buried_at=row.buried_at,
        event=row.event,
    )
