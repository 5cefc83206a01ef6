"""The last fatal error of a process that used the ledger, kept until a cycle succeeds."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from poller.adapters.sql_ledger.sqlite import driver
from poller.adapters.sql_ledger.sqlite.database import Database
from poller.adapters.sql_ledger.tables import schema


@dataclass(frozen=True, slots=True, kw_only=True)
class FatalExit:
    """Why the program ended with 78, what to do about it, and when that was."""

    at: datetime
    code: str
    error: str
    hint: str


def record_fatal_exit(url: str, words: FatalExit) -> None:
    """Write the error into a ledger that is there already.

    Raises:
        TransientError, FatalError: there is no ledger, or it cannot be written.
    """
    database = Database.open(driver.ledger_path(url), create=False)
    try:
        with database.writing() as connection:
            forget_fatal_exit(connection)
            values = {
                "at": words.at,
                "code": words.code,
                "error": words.error,
                "hint": words.hint,
            }
            connection.execute(insert(schema.fatal_exit).values(id=1, **values))
    finally:
        database.close()


def forget_fatal_exit(connection: Connection) -> None:
    connection.execute(delete(schema.fatal_exit))


def read_fatal_exit(connection: Connection) -> FatalExit | None:
    columns = schema.fatal_exit.c
    query = select(columns.at, columns.code, columns.error, columns.hint)
    row = connection.execute(query).one_or_none()
    return FatalExit(at=row.at, code=row.code, error=row.error, hint=row.hint) if row else None
