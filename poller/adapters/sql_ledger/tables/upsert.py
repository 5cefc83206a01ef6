"""An INSERT with an ON CONFLICT clause, of which each dialect of SQLAlchemy has its own."""

from typing import cast

from sqlalchemy import Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import Insert


def upsert(table: Table, dialect: str) -> Insert:
    """Return the INSERT of the dialect with this name. Both have the same methods."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - SQLite needs none of it

        return cast("Insert", postgresql.insert(table))
    return sqlite.insert(table)
