"""The answers of Segment's CDN about write keys. They let the daemon report each answer once.

A write key is stored as a hash. The hash of 32 random characters does not lead back to them.
"""

from contextlib import closing
from datetime import datetime
from hashlib import sha256
from typing import Literal

from sqlalchemy import delete, insert, select

from poller.adapters.sql_ledger.places import open_database
from poller.adapters.sql_ledger.tables import schema

KeyState = Literal["proved", "unpublished"]


def read_key_state(url: str, write_key: str) -> KeyState | None:
    """Return what is known of a write key, or None if nothing is known.

    Raises:
        TransientError, FatalError: there is no ledger, or it cannot be read.
    """
    columns = schema.key_check.c
    with closing(open_database(url, change=False)) as database, database.reading() as connection:
        query = select(columns.state).where(columns.key_hash == _hash(write_key))
        state: KeyState | None = connection.scalar(query)
        return state


def record_key_state(url: str, write_key: str, state: KeyState, at: datetime) -> None:
    """Record what the CDN answered about a write key.

    Raises:
        TransientError, FatalError: there is no ledger, or it cannot be written.
    """
    row = {"key_hash": _hash(write_key), "state": state, "checked_at": at}
    with closing(open_database(url, change=True)) as database, database.writing() as connection:
        same = schema.key_check.c.key_hash == row["key_hash"]
        connection.execute(delete(schema.key_check).where(same))
        connection.execute(insert(schema.key_check).values(row))


def _hash(write_key: str) -> str:
    return sha256(write_key.encode()).hexdigest()
