"""The last fatal error that ended the daemon of a stream, kept until a cycle of it succeeds.

`status` shows it. Without it, a service that systemd restarts in vain would only look stopped.
The stream need not be in the ledger: a pipeline may fail before it begins one.
"""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select

from poller.adapters.sql_ledger.database import Database
from poller.adapters.sql_ledger.tables import schema
from poller.core.errors import FatalError
from poller.core.events import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class FatalExit:
    """A fatal error that ended a daemon, what to do about it, and when that was."""

    at: datetime
    code: str
    error: str
    hint: str

    @classmethod
    def of(cls, error: FatalError) -> Self:
        """Return the error as one that ends a daemon now."""
        return cls(at=datetime.now(UTC), code=error.code, error=str(error), hint=error.hint)


def record_fatal_exit(database: Database, stream: Stream, fatal_exit: FatalExit) -> None:
    """Write the error of a stream in the place of an earlier one.

    Raises:
        TransientError, FatalError: the ledger cannot be written.
    """
    with database.writing() as connection:
        forget_fatal_exit(connection, stream)
        row = insert(schema.fatal_exit).values(**_names(stream), **asdict(fatal_exit))
        connection.execute(row)


def forget_fatal_exit(connection: Connection, stream: Stream) -> None:
    """Delete the recorded error, since a cycle has succeeded."""
    connection.execute(delete(schema.fatal_exit).where(_is_of(stream)))


def read_fatal_exit(connection: Connection, stream: Stream) -> FatalExit | None:
    """Return the recorded error, or None if a cycle has succeeded since."""
    columns = schema.fatal_exit.c
    query = select(columns.at, columns.code, columns.error, columns.hint).where(_is_of(stream))
    row = connection.execute(query).mappings().one_or_none()
    return FatalExit(**row) if row else None


def _names(stream: Stream) -> dict[str, str]:
    return {
        "domain": stream.domain,
        "source_name": stream.source_name,
        "generation": stream.generation,
    }


def _is_of(stream: Stream) -> ColumnElement[bool]:
    return and_(*(schema.fatal_exit.c[name] == value for name, value in _names(stream).items()))
