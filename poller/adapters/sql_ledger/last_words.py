"""The last fatal error of a process that used the ledger, kept until a cycle succeeds."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from poller.adapters.sql_ledger.sqlite import driver
from poller.adapters.sql_ledger.sqlite.database import Database
from poller.adapters.sql_ledger.tables import schema


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWords:
    """Why the program ended with 78, what to do about it, and when that was."""

    at: datetime
    error: str
    hint: str


def keep_last_words(url: str, words: LastWords) -> None:
    """Write the error into a ledger that is there already.

    Raises:
        TransientError, FatalError: there is no ledger, or it cannot be written.
    """
    database = Database.open(driver.ledger_path(url), create=False)
    try:
        with database.writing() as connection:
            forget_last_words(connection)
            values = {"at": words.at, "error": words.error, "hint": words.hint}
            connection.execute(insert(schema.last_words).values(id=1, **values))
    finally:
        database.close()


def forget_last_words(connection: Connection) -> None:
    connection.execute(delete(schema.last_words))


def read_last_words(connection: Connection) -> LastWords | None:
    columns = schema.last_words.c
    row = connection.execute(select(columns.at, columns.error, columns.hint)).one_or_none()
    return LastWords(at=row.at, error=row.error, hint=row.hint) if row else None
