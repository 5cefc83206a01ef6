"""The last fatal error that ended a process of this ledger, kept until a cycle succeeds.

`status` shows it. Without it, a service that systemd restarts in vain would only look stopped.
"""

from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from poller.adapters.sql_ledger.places import open_database
from poller.adapters.sql_ledger.tables import schema

_ONLY_ID = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FatalExit:
    """A fatal error that ended a process, what to do about it, and when that was."""

    at: datetime
    code: str
    error: str
    hint: str


def record_fatal_exit(url: str, fatal_exit: FatalExit) -> None:
    """Write the error into a ledger that exists, in the place of an earlier one.

    Raises:
        TransientError, FatalError: there is no ledger, or it cannot be written.
    """
    with closing(open_database(url, change=True)) as database, database.writing() as connection:
        forget_fatal_exit(connection)
        row = insert(schema.fatal_exit).values(id=_ONLY_ID, **asdict(fatal_exit))
        connection.execute(row)


def forget_fatal_exit(connection: Connection) -> None:
    """Delete the recorded error, since a cycle has succeeded."""
    connection.execute(delete(schema.fatal_exit))


def read_fatal_exit(connection: Connection) -> FatalExit | None:
    """Return the recorded error, or None if a cycle has succeeded since."""
    columns = schema.fatal_exit.c
    query = select(columns.at, columns.code, columns.error, columns.hint)
    row = connection.execute(query).mappings().one_or_none()
    return FatalExit(**row) if row else None
