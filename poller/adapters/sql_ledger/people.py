"""Personal data in the ledger: finding and deleting what it holds of one person."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Connection, delete, select

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.dead_letters import (
    StoredDeadLetter,
    discard_letters,
    letters_with_events,
)
from poller.adapters.sql_ledger.places import open_database
from poller.adapters.sql_ledger.tables import schema
from poller.adapters.sql_ledger.tables.last_sent import forget_keys, read_last_sent
from poller.adapters.sql_ledger.tables.pending_identifies import of_person
from poller.adapters.sql_ledger.tables.streams import read_streams
from poller.core.events import Stream
from poller.core.messages import signup_message_ids
from poller.core.text.json_text import decode
from poller.core.translation.change_detection import identify_key

_ID_CHARACTER = r"[\w|@.-]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRecord:
    """Everything that one stream holds of a person.

    `pending_identifies` counts the identifies that are still to be sent. `is_remembered` says
    that a hash of the person's last identify or of the signup is stored.
    """

    stream: Stream
    letters: tuple[StoredDeadLetter, ...]
    pending_identifies: int
    is_remembered: bool

    @property
    def is_empty(self) -> bool:
        return not (self.letters or self.pending_identifies or self.is_remembered)


class PersonStore:
    """Finds and deletes what all streams hold of a person, also while the daemon runs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, to_change: bool = False) -> Self:
        """Open the ledger, for reading only unless `to_change` is set.

        Raises:
            TransientError, FatalError: for the same reasons as `DeadLetterStore.open`.
        """
        return cls(open_database(url, change=to_change))

    def close(self) -> None:
        self._database.close()

    def find(self, user_id: str) -> tuple[PersonRecord, ...]:
        """Return what each stream holds of this user, without streams that hold nothing."""
        with self._database.reading() as connection:
            return _find(connection, user_id)

    def forget(self, user_id: str) -> tuple[PersonRecord, ...]:
        """Delete all of it in one transaction, and return what it was.

        The database overwrites it, as far as it can. Each dead letter is counted as discarded in
        its hour.
        """
        with self._database.writing() as connection:
            self._database.overwrite_deleted(connection)
            records = _find(connection, user_id)
            streams = read_streams(connection)
            for record in records:
                stream_id = streams[record.stream]
                ids = {user_id, *_sent_as(connection, stream_id, user_id)}
                discard_letters(connection, record.letters)
                signups = signup_message_ids(record.stream, user_id)
                forget_keys(connection, stream_id, [*signups, *map(identify_key, ids)])
                pending = of_person(stream_id, user_id)
                connection.execute(delete(schema.pending_identify).where(pending))
            return records


def _find(connection: Connection, user_id: str) -> tuple[PersonRecord, ...]:
    letters = [
        letter for letter, event in letters_with_events(connection) if _names(event, user_id)
    ]
    records = (
        PersonRecord(
            stream=stream,
            letters=tuple(letter for letter in letters if letter.stream == stream),
            pending_identifies=len(_sent_as(connection, stream_id, user_id)),
            is_remembered=_is_remembered(connection, stream, stream_id, user_id),
        )
        for stream, stream_id in read_streams(connection).items()
    )
    return tuple(record for record in records if not record.is_empty)


def _is_remembered(connection: Connection, stream: Stream, stream_id: int, user_id: str) -> bool:
    keys = [identify_key(user_id), *signup_message_ids(stream, user_id)]
    return bool(read_last_sent(connection, stream_id, keys, since=None))


def _names(event: str, user_id: str) -> bool:
    """Return whether the id stands anywhere in the event, also within a longer text.

    An id that is only a part of a longer id does not count.
    """
    name = re.compile(rf"(?<!{_ID_CHARACTER}){re.escape(user_id)}(?!{_ID_CHARACTER})")
    return any(name.search(text) for text in _texts(decode(event)))


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, keys of objects too."""
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield key
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def _sent_as(connection: Connection, stream_id: int, user_id: str) -> list[str]:
    """Return the ids under which the person's tracks were sent and an identify is pending."""
    query = select(schema.pending_identify.c.sent_as).where(of_person(stream_id, user_id))
    return list(connection.scalars(query))
