"""What the ledger holds of one person, by the user id, and how to forget it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Connection, delete, or_, select

from poller.adapters.sql_ledger.dead_letters import (
    StoredDeadLetter,
    discard_letters,
    letters_with_events,
)
from poller.adapters.sql_ledger.sqlite import driver
from poller.adapters.sql_ledger.sqlite.database import Database
from poller.adapters.sql_ledger.tables import rows, schema
from poller.core.events import Stream
from poller.core.text.json_text import decode
from poller.core.translation.change_detection import identify_key

_WORD = r"[\w|@.-]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one stream holds of the person.

    `awaiting` counts identifies that are still to be sent. `is_remembered` says that a hash tells what the last
    identify said.
    """

    stream: Stream
    letters: tuple[StoredDeadLetter, ...]
    awaiting: int
    is_remembered: bool

    @property
    def is_nothing(self) -> bool:
        return not (self.letters or self.awaiting or self.is_remembered)


class People:
    """Looks for people in all streams of a ledger, also while the daemon writes it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, to_change: bool = False) -> Self:
        """Raises:
        TransientError, FatalError: as `DeadLetterStore.open`.
        """
        path = driver.ledger_path(url)
        return cls(
            Database.open(path, create=False) if to_change else Database.open_read_only(path)
        )

    def close(self) -> None:
        self._database.close()

    def held(self, user_id: str) -> tuple[Held, ...]:
        """Return what each stream holds, without the streams that hold nothing."""
        with self._database.reading() as connection:
            return _held(connection, user_id)

    def forget(self, user_id: str) -> tuple[Held, ...]:
        """Remove all of it in one transaction and overwrite it in the file; return what was there.

        Each dead letter is counted as discarded in its hour.
        """
        with self._database.writing() as connection:
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
            found = _held(connection, user_id)
            streams = rows.streams(connection)
            for each in found:
                discard_letters(connection, each.letters)
                _forget_identifies(connection, streams[each.stream], user_id)
            return found


def _held(connection: Connection, user_id: str) -> tuple[Held, ...]:
    letters = [
        letter for letter, event in letters_with_events(connection) if _names(event, user_id)
    ]
    found = (
        Held(
            stream=stream,
            letters=tuple(letter for letter in letters if letter.stream == stream),
            awaiting=len(_awaiting(connection, key, user_id)),
            is_remembered=_is_remembered(connection, key, user_id),
        )
        for stream, key in rows.streams(connection).items()
    )
    return tuple(each for each in found if not each.is_nothing)


def _names(event: str, user_id: str) -> bool:
    """Tell whether the id stands anywhere in the event, also within a longer text."""
    name = re.compile(rf"(?<!{_WORD}){re.escape(user_id)}(?!{_WORD})")
    return any(name.search(text) for text in _texts(decode(event)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _awaiting(connection: Connection, stream_id: int, user_id: str) -> list[str]:
    """Return the ids under which the person's tracks were sent and an identify is due."""
    columns = schema.pending_identify.c
    is_person = or_(columns.user_id == user_id, columns.sent_as == user_id)
    return list(
        connection.scalars(select(columns.sent_as).where(columns.stream_id == stream_id, is_person))
    )


def _is_remembered(connection: Connection, stream_id: int, user_id: str) -> bool:
    columns = schema.last_sent.c
    query = select(columns.key).where(
        columns.stream_id == stream_id, columns.key == identify_key(user_id)
    )
    return connection.scalar(query) is not None


def _forget_identifies(connection: Connection, stream_id: int, user_id: str) -> None:
    sent_as = {user_id, *_awaiting(connection, stream_id, user_id)}
    keys = [identify_key(each) for each in sent_as]
    said, awaiting = schema.last_sent.c, schema.pending_identify.c
    connection.execute(
        delete(schema.last_sent).where(said.stream_id == stream_id, said.key.in_(keys))
    )
    is_person = or_(awaiting.user_id == user_id, awaiting.sent_as == user_id)
    connection.execute(
        delete(schema.pending_identify).where(awaiting.stream_id == stream_id, is_person)
    )
